// The types of `createChat` in `../browser/chat.js` and `../core.js`.

import type { Schemas } from './index.js';

export function createChat(options: ChatOptions): Chat;

export interface ChatOptions {
  /** The address of Parlor. An empty one means the page's own origin. */
  baseUrl: string;
  /** Returns the current JWT. */
  token(): string;
  /** Default: the global one. */
  fetch?: typeof globalThis.fetch;
  /** Stores the messages that have no known answer. Default: `localStorage`. */
  storage?: ChatStorage;
  /** A connection is lost after this long silence. Default: 25000. The server pings every 10 s. */
  silenceMs?: number;
  /** The first pause before a retry. Each pause is twice the previous one. Default: 500. */
  backoffMs?: number;
  /** Default: 10000. */
  maxBackoffMs?: number;
  /** Attempts in a row, without new text. Default: 8. */
  maxAttempts?: number;
  /** If the server asks for a longer pause, the caller gets the error instead. Default: 30000. */
  maxWaitMs?: number;
  /** An older unanswered message is not sent again. Default: 600000. */
  keepMs?: number;
}

/** Values are JSON. `get` returns null if there is no value. */
export interface ChatStorage {
  get(key: string): any;
  set(key: string, value: any): void;
  remove(key: string): void;
}

export interface Chat {
  /** Messages are sorted from old to new. `nextCursor` is the cursor of older ones. */
  open(contextType: string, contextId: string): Promise<Conversation>;
  /** Sends a message. Sends the previous one again if it has no known answer and equal content. */
  send(chatId: number, content: string, use?: SendUse): void;
  /** Replaces the last reply with a new one. */
  regenerate(chatId: number, use?: RegenerateUse): void;
  /**
   * Continues with the message that has no known answer. Returns its content, which is empty for
   * `regenerate`, or null if there is no such message.
   */
  recover(chatId: number, use?: Callbacks): string | null;
  /** Reads the rest of a reply. `text` is the part that the caller already has. */
  resume(messageId: number, use?: Callbacks & { text?: string }): void;
  /** Stops a reply. The text so far is stored, and the stream ends with `onDone`. */
  stop(messageId: number): Promise<Schemas['Stopping']>;
  /** Drops all connections. The server continues. */
  sleep(): void;
  /** Reconnects everything that `sleep` dropped. */
  wake(): void;
  /**
   * Makes a request that is not a stream, with retries unless `isOnce` is true. Returns the JSON
   * body, which is null for status 204. With `isText`, the body is text. Rejects with a
   * `RequestError`.
   */
  call<Body = unknown>(method: string, path: string, use?: CallUse): Promise<Body>;
}

export interface Conversation {
  chatId: number;
  items: Schemas['MessageItem'][];
  nextCursor: string | null;
}

/** Each reply ends with exactly one `onDone` or `onError`. */
export interface Callbacks {
  /** Called once, before any text. */
  onStart?(start: Start): void;
  /** Called while the application has no text yet. */
  onProgress?(progress: Progress): void;
  /** `text` is all text so far. */
  onToken?(token: string, text: string): void;
  /** Called before the end if the reply cites documents, and again after a reconnect. */
  onReferences?(items: Schemas['Reference'][]): void;
  onDone?(done: Done): void;
  onError?(error: ReplyError): void;
}

export interface RegenerateUse extends Callbacks {
  sourcePage?: string;
  /** The filters of that page. At most 4 KiB. */
  pageContext?: Record<string, unknown>;
}

export interface SendUse extends RegenerateUse {
  /** The id of the last question, if this message replaces it. */
  edits?: number;
}

export interface CallUse {
  body?: unknown;
  isOnce?: boolean;
  isText?: boolean;
}

export interface Start {
  chatId: number;
  userMessageId: number | null;
  messageId: number;
  createdAt: string;
  /** Shown next to text that AI generated. */
  label: string;
  edits?: number;
}

export interface Progress {
  kind: 'thinking' | 'retrieval' | 'tool' | 'node';
  /** May be empty. */
  name: string;
}

export interface Done {
  messageId: number;
  createdAt: string;
  status: 'complete' | 'stopped';
  /** The stored text. */
  text: string;
  /** Null if the usage is unknown. */
  tokensUsed: number | null;
  label: string;
  /** `length` if the model reached its length limit. */
  finishReason: 'stop' | 'length' | null;
  referenceCard?: Record<string, unknown> | null;
}

/** `status`, `field` and `retryAfter` belong to an error response. */
export interface RequestError {
  code: string;
  /** A message for users, in Chinese. */
  detail: string;
  retryable: boolean;
  status?: number;
  field?: string | null;
  messageId?: number | null;
  /** Seconds to wait before a retry. */
  retryAfter?: number;
}

export interface ReplyError extends RequestError {
  /** The text so far. */
  text: string;
  /** True if the message is still in the storage. `recover` continues with it. */
  kept: boolean;
}
