// Both clients, made alike, and the product that they talk to.

import assert from 'node:assert/strict';

import { createChat as createBrowserChat } from '../../browser/chat.js';
import { createFetch } from './fetch.mjs';
import { createNetwork } from './network.mjs';
import { load } from './phone.mjs';
import { createWx } from './wx.mjs';

/** Where the product is, and who asks; without these there is nothing to test against. */
export const baseUrl = process.env.PARLOR_URL;
export const token = process.env.PARLOR_TOKEN;
export const skip = baseUrl && token ? false : 'PARLOR_URL and PARLOR_TOKEN are not set';

export const KINDS = ['mini-program', 'browser'];

/** A client of this kind on a network of its own. It is in more of a hurry than people are. */
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

/** Callbacks, and a promise of how it ends: `{ start, tokens, done }` or `{ start, tokens, error }`. */
export function listen(more = {}) {
  const heard = { starts: [], tokens: [] };
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

/** A call of the product, as JSON. On a machine that is busy with other things the product may ask for patience. */
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

/** A conversation that nobody else has. */
export async function newChat() {
  opened += 1;
  const contextId = `clients-${process.pid}-${Date.now().toString(36)}-${opened}`;
  const { body } = await api('GET', `/api/xcx/chat/messages?contextType=task&contextId=${contextId}`);
  return body.chatId;
}

/** What is stored of a conversation, once nothing is being made in it. */
export async function stored(chatId) {
  const until = Date.now() + 20000;
  for (;;) {
    const { body } = await api('GET', `/api/xcx/chat/${chatId}/messages`);
    if (body.items.every((item) => item.status !== 'streaming')) return body.items;
    assert.ok(Date.now() < until, 'waited in vain for a reply to end');
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

/** Checks that what a client ended with is what is stored: one message, one reply, the same text, the same end. */
export async function assertStored(chatId, content, { starts, tokens, done, error }) {
  const items = await stored(chatId);
  assert.deepEqual(items.map((item) => [item.role, item.content].join(': ')), [`user: ${content}`, `assistant: ${(done ?? error).text}`]);
  assert.equal(tokens.join(''), items[1].content);
  assert.equal((done ?? error).messageId, items[1].id);
  assert.equal(starts.length, 1, 'told of the beginning once');
  assert.equal(starts[0].userMessageId, items[0].id);
  if (done) assert.equal(done.status, items[1].status);
  else assert.equal(items[1].status, items[1].content === '' ? 'failed' : 'interrupted');
  return items;
}

/** Does this with each, so many at once. */
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
 * Does something that makes DashScope fail, when nobody else does; a success comes after it. Else the product would open its circuit,
 * after five failures in a row, and refuse everybody.
 */
export function whileFailing(doing) {
  const done = failing.then(doing);
  failing = done.then(succeed, succeed);
  return done;
}

async function succeed() {
  await api('POST', `/api/xcx/chat/${await newChat()}/messages`, { content: '[[sim:echo]]好' });
}
