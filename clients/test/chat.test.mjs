// Both clients against Parlor, over bad networks.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';

import '../core.js';
import { KINDS, ask, assertStored, baseUrl, createClient, each, listen, newChat, skip, stored, token, whileFailing } from './stand-ins/clients.mjs';
import { atRandom, byteByByte, whole } from './stand-ins/network.mjs';

const { createParser } = globalThis.parlorCore;

const ODD = '今晚 7 点🎱👨‍👩‍👧‍👦 e\u0301 “引号”\\ \u{10ffff}\u{7f}末';
const SHORT = '[[sim:say:好🎱|é|行\u{10ffff}|末]]';
const CUTS = { whole, 'byte by byte': byteByByte, 'at random': atRandom };

/** Checks that all `POST` requests sent the same message. */
function assertOneMessage({ requests }) {
  const ids = requests.filter((request) => request.method === 'POST').map((request) => request.body.clientMessageId);
  assert.equal(new Set(ids).size, 1, `${ids}`);
  assert.match(ids[0], /^[-a-z0-9]{12,64}$/);
}

for (const kind of KINDS) {
  describe(kind, { skip, concurrency: 4 }, () => {
    for (const [how, cut] of Object.entries(CUTS)) {
      test(`a reply cut ${how} is the stored text, however it ends`, async () => {
        const contents = {
          [`[[sim:echo]]${ODD}`]: ['complete'],
          '[[sim:slow:1]]慢慢来': ['complete'],
          '[[sim:long:400]]多说一些': ['complete'],
          '[[sim:fail-first]]你好': ['upstream_error', true],
          '[[sim:fail-mid]]你好': ['upstream_error', true],
          '[[sim:inspection]]你好': ['content_blocked', false],
        };
        await each(Object.entries(contents), 4, async ([content, [end, retryable]]) => {
          const { chat, network, storage } = createClient(kind, { cut });
          const chatId = await newChat();
          const asked = () => ask(chat, chatId, content);
          const outcome = await (retryable === undefined ? asked() : whileFailing(asked));
          await assertStored(chatId, content, outcome);
          if (retryable === undefined) assert.equal(outcome.done.status, end);
          else assert.deepEqual([outcome.error.code, outcome.error.retryable, outcome.error.kept], [end, retryable, false]);
          assert.equal(network.served(), 1, 'nothing was lost, so nothing was asked again');
          assert.equal(storage.size, 0, 'an answer that is known is not waited for');
        });
      });
    }

    test('a connection that breaks at any byte costs nothing', async () => {
      const { chat, network } = createClient(kind);
      await ask(chat, await newChat(), SHORT);
      const places = Array.from({ length: network.bytes[0] + 2 }, (_, at) => ({ at: at - 1 }));
      await each([{ early: true }, ...places], 4, async (place) => {
        const client = createClient(kind, { cut: byteByByte, trouble: (n) => (n === 0 ? place : undefined) });
        const chatId = await newChat();
        const outcome = await ask(client.chat, chatId, SHORT);
        await assertStored(chatId, SHORT, outcome);
        assertOneMessage(client.network);
        assert.ok(client.network.served() <= 2, JSON.stringify(place));
        assert.equal(client.storage.size, 0);
      });
    });

    test('an error is heard in spite of a connection that breaks', async () => {
      await each([-1, 0, 40, 150, 230, 330, 430], 4, async (at) => {
        const client = createClient(kind, { cut: atRandom, trouble: (n) => (n === 0 ? { at } : undefined) });
        const chatId = await newChat();
        const outcome = await whileFailing(() => ask(client.chat, chatId, '[[sim:fail-mid]]你好'));
        await assertStored(chatId, '[[sim:fail-mid]]你好', outcome);
        assert.equal(outcome.error.code, 'upstream_error');
      });
    });

    test('connections that break again and again bring the whole text', async () => {
      const content = `[[sim:echo]]${ODD.repeat(8)}`;
      await each([130, 150, 333, 700], 4, async (at) => {
        const client = createClient(kind, { cut: atRandom, trouble: (n) => (n < 6 ? { at } : undefined) });
        const chatId = await newChat();
        const outcome = await ask(client.chat, chatId, content);
        await assertStored(chatId, content, outcome);
        assertOneMessage(client.network);
        assert.ok(client.network.served() <= 7);
      });
    });

    test('a stored reply is read on from any byte of its stream', async () => {
      const content = `[[sim:echo]]${ODD}`;
      const { chat } = createClient(kind);
      const chatId = await newChat();
      await ask(chat, chatId, content);
      const [, reply] = await stored(chatId);
      const places = Array.from({ length: 420 }, (_, at) => at);
      await each(places, 16, async (at) => {
        const client = createClient(kind, { cut: byteByByte, trouble: (n) => (n === 0 ? { at } : undefined) });
        const { use, ended } = listen();
        const shown = [...content].slice(0, at % 7).join('');
        client.chat.resume(reply.id, { ...use, text: shown });
        const { done, tokens } = await ended;
        assert.equal(done.text, content);
        assert.equal(shown + tokens.join(''), content);
      });
    });

    test('silence is a lost connection', async () => {
      await each([0, 60, 300], 3, async (stall) => {
        const client = createClient(kind, { silenceMs: 1500, maxAttempts: 30, trouble: (n) => (n === 0 ? { stall } : undefined) });
        const chatId = await newChat();
        const outcome = await ask(client.chat, chatId, '[[sim:echo]]没有声音了');
        await assertStored(chatId, '[[sim:echo]]没有声音了', outcome);
        assertOneMessage(client.network);
        assert.ok(client.network.requests.length >= 2);
      });
    });

    test('after the background it goes on where it was', async () => {
      // Before `start`, in the middle, and after the end. Two at once: each may have two readers
      // for a moment, and a sixth reader of a user replaces the oldest one.
      await each([0, 1, 6, 30], 2, async (tokens) => {
        const content = '[[sim:slow:2]]先去忙一下';
        const client = createClient(kind);
        const chatId = await newChat();
        const hidden = new Promise((resolve) => {
          const { use, ended, heard } = listen({
            onToken: () => heard.tokens.length === tokens && hide(),
          });
          const hide = () => {
            client.chat.sleep();
            const before = heard.tokens.length;
            setTimeout(() => {
              assert.equal(heard.tokens.length, before, 'nothing is told in the background');
              client.chat.wake();
              resolve(ended);
            }, 300);
          };
          client.chat.send(chatId, content, use);
          if (tokens === 0) hide();
        });
        await assertStored(chatId, content, await hidden);
        assertOneMessage(client.network);
        assert.ok(client.network.served() <= 3);
      });
    });

    test('hiding and showing in one breath leaves one connection', async () => {
      const client = createClient(kind);
      const chatId = await newChat();
      const content = `[[sim:slow:1]]${ODD}`;
      const outcome = await ask(client.chat, chatId, content, {
        onToken: () => {
          client.chat.sleep();
          client.chat.wake();
        },
      });
      await assertStored(chatId, content, outcome);
    });

    test('what an old connection still has to say is not heard', async () => {
      const frame = (event, n, data) => `event: ${event}\nid: 7-${n}\ndata: ${JSON.stringify(data)}\n\n`;
      const start = frame('start', 0, { chatId: 1, userMessageId: 6, messageId: 7, createdAt: 'x' });
      const rest = frame('message', 2, { token: '二' }) + frame('done', 2, { messageId: 7, status: 'complete' });
      const bodies = [start + frame('message', 1, { token: '一' }) + rest, start + rest];
      const answer = (n) => ({ answer: { status: 200, headers: {}, body: bodies[n] } });
      const { chat } = createClient(kind, { trouble: answer });
      const hide = (token) => {
        if (token === '一') {
          chat.sleep();
          chat.wake();
        }
      };
      const { done, tokens } = await ask(chat, 1, '你好', { onToken: hide });
      assert.deepEqual([done.text, tokens], ['一二', ['一', '二']]);
    });

    test('events of a newer server are ignored', async () => {
      const start = 'event: start\nid: 7-0\ndata: {"chatId":1,"userMessageId":6,"messageId":7,"createdAt":"x"}\n\n';
      const unknown = 'event: mood\nid: 7-9\ndata: {"token":"x","messageId":8,"items":[]}\n\nevent: list\nid: 7-9\ndata: [1]\n\n';
      const said = 'event: message\nid: 7-1\ndata: {"token":"好","more":1}\n\n';
      const end = 'event: done\nid: 7-1\ndata: {"messageId":7,"status":"complete"}\n\n';
      const body = [start, said, end].join(unknown);
      const { chat, network } = createClient(kind, { cut: atRandom, trouble: () => ({ answer: { status: 200, headers: {}, body } }) });
      const outcome = await ask(chat, 1, '你好');
      assert.deepEqual([outcome.done.text, outcome.tokens], ['好', ['好']]);
      assert.deepEqual([outcome.progress, outcome.references], [[], []]);
      assert.equal(network.requests.length, 1);
    });

    test('progress comes before the text, references before the end', async () => {
      const { chat } = createClient(kind, { cut: atRandom });
      const thinking = await ask(chat, await newChat(), '[[sim:recorded:thinking]]怎么办');
      assert.deepEqual(thinking.progress.map(plain), [{ kind: 'thinking', name: '思考过程' }]);

      const chatId = await newChat();
      const content = '[[sim:recorded:references]]会员日是哪天';
      const outcome = await ask(chat, chatId, content);
      const [, reply] = await assertStored(chatId, content, outcome);
      assert.equal(outcome.done.text, '会员日在每月八号[1]。');
      assert.deepEqual(JSON.parse(JSON.stringify(outcome.references)), [reply.references]);
      assert.equal(reply.references[0].title, '会员手册');
    });

    test('stopped in the middle, what was said is kept', async () => {
      for (const cut of [whole, byteByByte]) {
        const client = createClient(kind, { cut });
        const chatId = await newChat();
        const content = '[[sim:slow:30]]说很久';
        const stops = [];
        const outcome = await ask(client.chat, chatId, content, {
          onToken: () => {
            if (stops.length === 0) stops.push(client.chat.stop(client.messageId));
          },
          onStart: ({ messageId }) => {
            client.messageId = messageId;
          },
        });
        assert.equal(outcome.done.status, 'stopped');
        await assertStored(chatId, content, outcome);
        const { messageId } = client;
        assert.deepEqual(plain(await stops[0]), { messageId, status: 'stopping' });
        assert.deepEqual(plain(await client.chat.stop(messageId)), { messageId, status: 'stopped' });
      }
    });

    test('a message without a known answer is kept for the next time', async () => {
      const content = '[[sim:echo]]还在吗';
      for (const at of [-1, 200]) {
        const chatId = await newChat();
        const gone = createClient(kind, { maxAttempts: 2, trouble: () => ({ at }) });
        const { error } = await ask(gone.chat, chatId, content);
        assert.deepEqual([error.code, error.retryable, error.kept], ['lost', true, true]);
        const { storage } = gone;
        assert.equal(storage.size, 1);
        // After a restart of the app: by `recover`, or by a `send` with the same content.
        const next = createClient(kind, { storage });
        const { use, ended } = listen();
        if (at === -1) assert.equal(next.chat.recover(chatId, use), content);
        else next.chat.send(chatId, content, use);
        await assertStored(chatId, content, await ended);
        assert.equal(storage.size, 0);
        assert.equal(next.chat.recover(chatId), null);
        // The same content is a new message now.
        await ask(next.chat, chatId, content);
        assert.equal((await stored(chatId)).length, 4);
      }
    });

    test('what was kept for too long is not said any more', async () => {
      const chatId = await newChat();
      const gone = createClient(kind, { maxAttempts: 1, trouble: () => ({ answer: { status: 502, headers: {}, body: '<html>' } }) });
      await ask(gone.chat, chatId, '[[sim:echo]]昨天的话');
      const { storage } = gone;
      const next = createClient(kind, { storage, keepMs: 0 });
      assert.equal(next.chat.recover(chatId), null);
      assert.deepEqual(await stored(chatId), []);
    });

    test('refusals are told as they are, at once', async () => {
      const chatId = await newChat();
      const { chat, network, storage } = createClient(kind, { cut: byteByByte });
      const empty = (await ask(chat, chatId, ' \n')).error;
      assert.deepEqual(
        [empty.status, empty.code, empty.detail, empty.field, empty.retryable, empty.kept],
        [422, 'invalid_request', '消息内容不能为空', 'content', false, false],
      );
      const unknown = (await ask(chat, 999999999, '你好')).error;
      assert.deepEqual([unknown.status, unknown.code], [404, 'not_found']);
      assert.equal(network.served(), 2);
      assert.equal(storage.size, 0);

      // After the token is renewed, it is the same message.
      const stranger = createClient(kind, { token: () => 'no token', storage });
      const { error } = await ask(stranger.chat, chatId, '[[sim:echo]]你好');
      assert.deepEqual([error.status, error.code, error.detail, error.kept], [401, 'unauthorized', '请先登录', true]);
      assert.equal(stranger.network.served(), 1);
      await assert.rejects(stranger.chat.stop(1), (refusal) => refusal.code === 'unauthorized');
      const again = createClient(kind, { storage });
      await assertStored(chatId, '[[sim:echo]]你好', await ask(again.chat, chatId, '[[sim:echo]]你好'));
      const ids = [...stranger.network.requests, ...again.network.requests].map((request) => request.body.clientMessageId);
      assert.equal(ids[0], ids[1]);
    });

    test('a conversation that is busy says with which reply', async () => {
      const chatId = await newChat();
      const { chat } = createClient(kind);
      const { use, ended } = listen({
        onStart: async ({ messageId }) => {
          const other = createClient(kind);
          const { error } = await ask(other.chat, chatId, '那个呢');
          assert.deepEqual([error.status, error.code, error.messageId, error.kept], [409, 'busy', messageId, false]);
          await other.chat.stop(messageId);
        },
      });
      chat.send(chatId, '[[sim:slow:30]]这个', use);
      assert.equal((await ended).done.status, 'stopped');
    });

    test('a server that asks for patience gets it, within limits', async () => {
      const soon = { status: 503, headers: { 'Retry-After': '1' }, body: '{"code":"unavailable","detail":"稍后","retryAfter":1}' };
      const client = createClient(kind, { trouble: (n) => (n === 0 ? { answer: soon } : undefined) });
      const chatId = await newChat();
      const content = '[[sim:echo]]耐心';
      await assertStored(chatId, content, await ask(client.chat, chatId, content));
      assert.equal(client.network.served(), 2);
      assertOneMessage(client.network);

      // A proxy sends only the header. The client waits at most 30 s.
      for (const [headers, retryAfter] of [[{ 'retry-after': '1' }, 1], [{ 'RETRY-AFTER': '3600' }, 3600]]) {
        const late = { status: 429, headers, body: 'slow down' };
        const patient = createClient(kind, { maxWaitMs: 900, trouble: () => ({ answer: late }) });
        const { error } = await ask(patient.chat, await newChat(), content);
        assert.deepEqual([error.status, error.code, error.retryAfter, error.retryable, error.kept], [429, 'http_429', retryAfter, true, true]);
        assert.equal(patient.network.requests.length, 1);
      }
    });

    test('attempts are counted', async () => {
      const busy = { status: 500, headers: {}, body: '{"code":"internal","detail":"服务器内部错误"}' };
      const { chat, network } = createClient(kind, { maxAttempts: 4, trouble: () => ({ answer: busy }) });
      const { error } = await ask(chat, await newChat(), '你好');
      assert.deepEqual([error.code, error.kept], ['internal', true]);
      assert.equal(network.requests.length, 4);
      assertOneMessage(network);
    });

    test('what a dead maker had not stored is taken back', async () => {
      const start = 'event: start\nid: 7-0\ndata: {"chatId":1,"userMessageId":6,"messageId":7,"createdAt":"x"}\n\n';
      const said = `${start}event: message\nid: 7-3\ndata: {"token":"一🎱三"}\n\n`;
      const end = 'event: error\nid: 7-2\ndata: {"message":"AI 服务暂时不可用","code":"unavailable","retryable":true,"messageId":7}\n\n';
      const bodies = [said, start + end, start + end];
      const answer = (n) => ({ answer: { status: 200, headers: { 'content-type': 'text/event-stream' }, body: bodies[n] } });
      const { chat, network } = createClient(kind, { trouble: answer });
      const { error, tokens } = await ask(chat, 1, '你好');
      assert.deepEqual(tokens, ['一🎱三']);
      assert.deepEqual([error.code, error.text, error.messageId], ['unavailable', '一🎱', 7]);
      assert.equal(network.requests.length, 3, 'a doubtful end is looked at twice');
    });

    test('the page that the message is asked from goes with it', async () => {
      const chatId = await newChat();
      const client = createClient(kind);
      const { use, ended } = listen();
      client.chat.send(chatId, '这周怎么样', { ...use, sourcePage: 'board-finance', pageContext: { period: 'this_week' } });
      assert.ok((await ended).done);
      const { body } = client.network.requests[0];
      assert.deepEqual([body.sourcePage, body.pageContext.period], ['board-finance', 'this_week']);
    });
  });
}

test('mini-program: where chunks are not known, all of it comes at the end', { skip }, async () => {
  const { chat, network } = createClient('mini-program', { trouble: () => ({ atOnce: true }) });
  const content = `[[sim:echo]]${ODD}`;
  const chatId = await newChat();
  await assertStored(chatId, content, await ask(chat, chatId, content));
  const { error } = await ask(chat, chatId, '');
  assert.deepEqual([error.status, error.detail], [422, '消息内容不能为空']);
  assert.equal(network.served(), 2);
});

test('with ?ascii=1 a byte is a character, and no decoder is needed', { skip }, async () => {
  const content = `[[sim:echo]]${ODD}`;
  const chatId = await newChat();
  const { chat } = createClient('browser');
  const { done } = await ask(chat, chatId, content);
  const headers = { authorization: `Bearer ${token}` };
  const response = await fetch(`${baseUrl}/api/xcx/chat/stream/${done.messageId}?ascii=1`, { headers });
  let text = '';
  const parse = createParser(({ event, data }) => {
    if (event === 'message') text += JSON.parse(data).token;
  });
  for (const byte of new Uint8Array(await response.arrayBuffer())) parse(String.fromCharCode(byte));
  assert.equal(text, content);
});

/** Copies an object without its prototype, which belongs to another realm. */
function plain(value) {
  return { ...value };
}
