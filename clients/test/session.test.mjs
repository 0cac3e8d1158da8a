// The session API's client against Parlor, over a bad network.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { createSession } from '../browser/session.js';
import { api, baseUrl, skip, token } from './stand-ins/clients.mjs';

async function newSession() {
  const { body: listed } = await api('GET', '/api/chat/bots');
  const { body } = await api('POST', '/api/chat/sessions', { bot_id: listed.bots[0].id });
  return body.session.id;
}

/** Loses every second response, after the server got the request. */
function lossy() {
  let calls = 0;
  return async (...request) => {
    calls += 1;
    const response = await fetch(...request);
    if (calls % 2 === 0) return response;
    await response.arrayBuffer();
    throw new TypeError('terminated');
  };
}

test('a message is sent once, and its reply is found', { skip }, async () => {
  const sessionId = await newSession();
  const session = createSession({ baseUrl, token: () => token, sessionId, fetch: lossy(), pollMs: 200 });
  const message = await session.send('[[sim:echo]]今天谁最忙？', 'key-1');
  assert.deepEqual(await session.send('[[sim:echo]]今天谁最忙？', 'key-1'), message);
  const reply = await session.reply(message);
  assert.equal(reply.content, '[[sim:echo]]今天谁最忙？');
  assert.equal((await session.reply(message)).id, reply.id);
  const { body } = await api('GET', `/api/chat/sessions/${sessionId}/messages`);
  assert.deepEqual(body.messages.map(({ id }) => id), [message.id, reply.id]);
  await session.markRead();
  const { body: after } = await api('GET', `/api/chat/sessions/${sessionId}`);
  assert.equal(after.session.unread_count, 0);
});

test('a refusal is thrown', { skip }, async () => {
  const sessionId = await newSession();
  const session = createSession({ baseUrl, token: () => token, sessionId });
  await assert.rejects(session.send('  ', 'key-1'), ({ status, code }) => status === 400 && code === 'invalid_request');
  await session.send('甲', 'key-2');
  await assert.rejects(session.send('乙', 'key-2'), ({ status }) => status === 422);
});
