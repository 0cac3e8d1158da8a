// Both clients, against a server with the bodies of the contract.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';

import { KINDS, ask, createClient, listen } from './stand-ins/clients.mjs';
import { noContent, refused, serve, streamed } from './stand-ins/contract.mjs';

async function setUp(t, kind, routes) {
  const server = await serve(routes);
  t.after(server.close);
  return { server, ...createClient(kind, { baseUrl: server.baseUrl, token: () => 'token' }) };
}

const start = ['2-0', 'start', { chatId: 7, userMessageId: 1, messageId: 2 }];
const done = ['2-1', 'done', { messageId: 2, tokensUsed: 1, status: 'complete' }];

for (const kind of KINDS) {
  describe(kind, () => {
    test('progress and references have callbacks, and unknown events are ignored', async (t) => {
      const sources = [{ index: 1, title: '价目表', url: null, page: null }];
      const { chat } = await setUp(t, kind, {
        'POST /chat/stream': () => streamed(
          start,
          ['2-0', 'progress', { kind: 'thinking', name: null }],
          ['2-0', 'future', { token: 'unknown', items: [] }],
          ['2-1', 'message', { token: '好' }],
          ['2-1', 'references', { items: sources }],
          done,
        ),
      });
      const heard = [];
      const { use, ended } = listen();
      const more = { onProgress: (progress) => heard.push(progress), onReferences: (items) => heard.push(items) };
      chat.send(7, '你好', { ...use, ...more });
      const { tokens, done: end } = await ended;
      assert.deepEqual(JSON.parse(JSON.stringify(heard)), [{ kind: 'thinking', name: null }, sources]);
      assert.deepEqual([tokens, end.text], [['好'], '好']);
    });

    test('the callbacks get the label, the reason of the end and the card', async (t) => {
      const label = '内容由 AI 生成，请核实';
      const card = { type: 'insight', title: '周末邀约', summary: '稳定客户', data: { insightId: 5, app: 'app7_customer_analysis', target: { type: 'member', id: 1 } } };
      const labelled = ([id, event, data], more) => [id, event, { ...data, label, ...more }];
      const { chat } = await setUp(t, kind, {
        'POST /chat/stream': () => streamed(labelled(start), ['2-1', 'message', { token: '好' }], labelled(done, { finishReason: 'length', referenceCard: card })),
      });
      const { starts, done: end } = await ask(chat, 7, '你好');
      assert.deepEqual([starts[0].label, end.label, end.finishReason], [label, label, 'length']);
      assert.deepEqual(JSON.parse(JSON.stringify(end.referenceCard)), card);
    });

    test('a new reply is about the page of its question', async (t) => {
      const { server, chat } = await setUp(t, kind, {
        'POST /chat/7/regenerate': () => streamed(start, ['2-1', 'message', { token: '好' }], done),
      });
      const { use, ended } = listen();
      chat.regenerate(7, { ...use, sourcePage: 'customer-detail', pageContext: { contextId: 1 } });
      await ended;
      const [{ body }] = server.sent('POST /chat/7/regenerate');
      assert.deepEqual([body.sourcePage, body.pageContext], ['customer-detail', { contextId: 1 }]);
    });

    test('an edited question is another message than the same text without an edit', async (t) => {
      const { server, chat } = await setUp(t, kind, { 'POST /chat/stream': () => refused(401, 'unauthorized', '请重新登录') });
      const sent = (edits) => ask(chat, 7, '你好').then(() => new Promise((resolve) => chat.send(7, '你好', { edits, onError: resolve })));
      await sent(1);
      const [plain, edited] = server.sent('POST /chat/stream').map(({ body }) => body);
      assert.deepEqual([plain.edits, edited.edits], [undefined, 1]);
      assert.notEqual(plain.clientMessageId, edited.clientMessageId);
    });

    test('a new reply is continued by recover, without a question', async (t) => {
      const { server, chat, storage } = await setUp(t, kind, { 'POST /chat/7/regenerate': () => refused(401, 'unauthorized', '请重新登录') });
      const first = await new Promise((resolve) => chat.regenerate(7, { onError: resolve }));
      assert.equal(first.kept, true);
      server.routes['POST /chat/7/regenerate'] = () => streamed(start, ['2-1', 'message', { token: '好' }], done);
      const { use, ended } = listen();
      assert.equal(chat.recover(7, use), '');
      assert.equal((await ended).done.text, '好');
      const [one, other] = server.sent('POST /chat/7/regenerate');
      assert.deepEqual(one.body, other.body);
      assert.equal(storage.size, 0);
      assert.equal(chat.recover(7, use), null);
    });

    test('calls send JSON, are retried unless once, and may have no body', async (t) => {
      const busy = () => refused(503, 'unavailable', '服务暂时不可用');
      const { server, chat } = await setUp(t, kind, {
        'PUT /a': ({ body }) => (server.sent('PUT /a').length < 3 ? busy() : body),
        'POST /b': busy,
        'DELETE /c': () => noContent,
        'GET /d': () => ({ line: 1 }),
      });
      assert.deepEqual({ ...(await chat.call('PUT', '/api/xcx/a', { body: { text: '好🎱' } })) }, { text: '好🎱' });
      await assert.rejects(chat.call('POST', '/api/xcx/b', { body: {}, isOnce: true }), { status: 503, code: 'unavailable' });
      assert.equal(server.sent('POST /b').length, 1);
      assert.equal(await chat.call('DELETE', '/api/xcx/c'), null);
      assert.equal(await chat.call('GET', '/api/xcx/d', { isText: true }), '{"line":1}');
    });
  });
}
