// Creates either client, and calls Parlor directly.

import assert from 'node:assert/strict';

import { createChat as createBrowserChat } from '../../browser/chat.js';
import { createFetch } from './fetch.mjs';
import { createNetwork } from './network.mjs';
import { load } from './phone.mjs';
import { createWx } from './wx.mjs';

/** The address of Parlor, and a user's token. Without them the tests are skipped. */
export const baseUrl = process.env.PARLOR_URL;
export const token = process.env.PARLOR_TOKEN;
export const skip = baseUrl && token ? false : 'PARLOR_URL and PARLOR_TOKEN are not set';

export const KINDS = ['mini-program', 'browser'];

/** Creates a client of this kind, with its own network. Its pauses are short, to save time. */
export function createClient(kind, { cut, trouble, storage = new Map(), ...limits } = {}) {
  const network = createNetwork({ cut, trouble });
  const options = { baseUrl, token: () => token, backoffMs: 5, maxBackoffMs: 50, silenceMs: 10000, ...limits };
  if (kind === 'mini-program') {
    const { createChat } = load('chat', { wx: createWx(network, storage) });
    return { chat: createChat(options), network, storage };
  }
  const adapter = {
    get: (key) => structuredClone(storage.get(key)),
    set: (key, value) => storage.set(key, structuredClone(value)),
    remove: (key) => storage.delete(key),
  };
  return { chat: createBrowserChat({ ...options, storage: adapter, fetch: createFetch(network) }), network, storage };
}

/**
 * Returns callbacks, and a promise of the end: `{ starts, tokens, progress, references }` with
 * `done` or `error`.
 */
export function listen(more = {}) {
  const heard = { starts: [], tokens: [], progress: [], references: [] };
  let settle;
  const ended = new Promise((resolve) => {
    settle = resolve;
  });
  const use = {
    onStart: (start) => {
      heard.starts.push(start);
      more.onStart?.(start);
    },
    onToken: (piece, text) => {
      heard.tokens.push(piece);
      more.onToken?.(piece, text);
    },
    onProgress: (progress) => heard.progress.push(progress),
    onReferences: (items) => heard.references.push(items),
    onDone: (done) => settle({ ...heard, done }),
    onError: (error) => settle({ ...heard, error }),
  };
  return { use, ended, heard };
}

/** Sends a message and waits for its end. */
export function ask(chat, chatId, content, more) {
  const { use, ended } = listen(more);
  chat.send(chatId, content, use);
  return ended;
}

/** Calls Parlor and returns the JSON. Retries 503, which Parlor returns on a busy machine. */
export async function api(method, path, body) {
  for (let attempt = 1; ; attempt += 1) {
    const response = await fetch(baseUrl + path, {
      method,
      headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
      body: body && JSON.stringify(body),
    });
    const answer = await response.json();
    if (response.ok) return { body: answer };
    assert.ok(response.status === 503 && attempt < 20, `${method} ${path}: ${JSON.stringify(answer)}`);
    await new Promise((resolve) => setTimeout(resolve, 500));
  }
}

let opened = 0;

/** Opens a new conversation. */
export async function newChat() {
  opened += 1;
  const contextId = `clients-${process.pid}-${Date.now().toString(36)}-${opened}`;
  const { body } = await api('GET', `/api/xcx/chat/messages?contextType=task&contextId=${contextId}`);
  return body.chatId;
}

/** Returns the messages of a conversation after its last reply has ended. */
export async function stored(chatId) {
  const until = Date.now() + 20000;
  for (;;) {
    const { body } = await api('GET', `/api/xcx/chat/${chatId}/messages`);
    if (body.items.every((item) => item.status !== 'streaming')) return body.items;
    assert.ok(Date.now() < until, 'waited in vain for a reply to end');
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

/**
 * Checks that the client's result is what is stored: one message and one reply, with the same text
 * and status.
 */
export async function assertStored(chatId, content, { starts, tokens, done, error }) {
  const items = await stored(chatId);
  assert.deepEqual(items.map((item) => [item.role, item.content].join(': ')), [`user: ${content}`, `assistant: ${(done ?? error).text}`]);
  // The pieces of a blocked reply were shown, and are removed at its end.
  if (error?.code !== 'content_blocked') assert.equal(tokens.join(''), items[1].content);
  assert.equal((done ?? error).messageId, items[1].id);
  assert.equal(starts.length, 1, 'told of the beginning once');
  assert.equal(starts[0].userMessageId, items[0].id);
  if (done) assert.equal(done.status, items[1].status);
  else assert.equal(items[1].status, items[1].content === '' ? 'failed' : 'interrupted');
  return items;
}

/** Calls `doing` for each item, `atOnce` of them concurrently. */
export async function each(all, atOnce, doing) {
  const left = [...all];
  await Promise.all(
    Array.from({ length: atOnce }, async () => {
      while (left.length > 0) await doing(left.shift());
    }),
  );
}

let failing = Promise.resolve();

/**
 * Runs `doing`, which makes DashScope fail, one at a time and followed by a success. Otherwise five
 * failures in a row would open the circuit, and Parlor would reject all calls.
 */
export function whileFailing(doing) {
  const done = failing.then(doing);
  failing = done.then(succeed, succeed);
  return done;
}

async function succeed() {
  await api('POST', `/api/xcx/chat/${await newChat()}/messages`, { content: '[[sim:echo]]好' });
}
