// The pages of the mini-program, on a phone, against a server with the bodies of the contract.

import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { test } from 'node:test';

import { accepted, created, gate, noContent, refused, serve, streamed } from './stand-ins/contract.mjs';
import { createClock, createPhone, loadPage } from './stand-ins/program.mjs';

const HOME = new URL('../mini-program/', import.meta.url);
const read = (path) => readFileSync(new URL(path, HOME), 'utf8');
const LABEL = '内容由 AI 生成，请核实';
const AT = '2026-05-30T08:00:00+00:00';

const NOTICE = {
  label: LABEL,
  models: [{ name: '通义千问', filingNumber: '网信算备330110507206401230035号' }],
  provider: '示例科技',
  agreementUrl: 'https://example.com/agreement',
  complaint: { phone: '400-000-0000', email: 'ai@example.com', url: null, days: 7 },
};

/** Starts a server and a phone. The server has a notice, no bots and no openers. */
async function setUp(t, routes, phone = {}) {
  const server = await serve({
    'GET /ai-notice': () => NOTICE,
    'GET /chat/bots': () => ({ items: [] }),
    'GET /chat/openers': () => ({ items: [] }),
    ...routes,
  });
  t.after(server.close);
  return { server, phone: createPhone({ baseUrl: server.baseUrl, token: 'token', ...phone }) };
}

const conversation = (id, more) => ({
  id,
  sessionId: '00000000-0000-0000-0000-000000000000',
  title: `对话 ${id}`,
  contextType: 'general',
  contextId: '',
  lastMessage: '好的',
  lastMessageAt: AT,
  messageCount: 2,
  unreadCount: 0,
  pinned: false,
  createdAt: AT,
  ...more,
});
const list = (items, nextCursor = null) => ({ items, total: items.length, page: 1, pageSize: 20, nextCursor });

const question = (id, content) => ({ id, role: 'user', content, createdAt: AT, status: 'complete' });
const reply = (id, content, more) => ({ id, role: 'assistant', content, createdAt: AT, status: 'complete', aiGenerated: true, feedback: { rating: null }, ...more });
/** Messages as the server lists them: the newest first. */
const messages = (items, nextCursor = null) => ({ chatId: 7, ...list([...items].reverse(), nextCursor) });

const start = (userMessageId, messageId) => [`${messageId}-0`, 'start', { chatId: 7, userMessageId, messageId, createdAt: AT, label: LABEL }];
const done = (messageId, text, more) => [
  `${messageId}-${Array.from(text).length}`,
  'done',
  { messageId, createdAt: AT, tokensUsed: 9, status: 'complete', label: LABEL, finishReason: 'stop', ...more },
];
/** The events of a whole reply, a piece per character. */
const whole = (userMessageId, messageId, text, more) => [
  start(userMessageId, messageId),
  ...Array.from(text, (token, at) => [`${messageId}-${at + 1}`, 'message', { token }]),
  done(messageId, text, more),
];

const shown = ({ data }) => data.messages.map(({ id, content, status }) => [id, content, status]);
const idle = ({ busy }) => !busy;

// Conversations

test('conversations are listed, searched and opened', async (t) => {
  const { server, phone } = await setUp(t, {
    'GET /chat/history': ({ query }) => (query.cursor ? list([conversation(8)]) : list([conversation(7, { pinned: true, unreadCount: 2 })], 'more')),
    'GET /chat/search': () => ({ items: [{ chatId: 8, messageId: 81, title: '对话 8', snippet: '…台费 50% 折…', createdAt: AT }], nextCursor: null }),
    'GET /chat/bots': () => ({ items: [{ id: 'b-1', name: 'coach', displayName: '教练助手', avatar: null, status: 'active' }] }),
    'GET /chat/8/messages': () => ({ ...messages([question(81, '台费？')]), chatId: 8 }),
    'GET /chat/messages': () => ({ ...messages([]), chatId: 9 }),
  });
  const page = await phone.open('conversations');
  assert.deepEqual(page.data.items.map(({ id, pinned }) => [id, pinned]), [[7, true]]);
  await page.onReachBottom();
  assert.deepEqual(page.data.items.map(({ id }) => id), [7, 8]);
  await page.onReachBottom();
  assert.equal(server.sent('GET /chat/history').length, 2, 'the end is not loaded again');

  await page.search({ detail: { value: ' 50%  ' } });
  assert.deepEqual(server.sent('GET /chat/search')[0].query, { q: '50%' });
  assert.deepEqual(page.data.found.map(({ chatId }) => chatId), [8]);
  page.tap('open', { id: 8, title: '50% 折扣 & 其他' });
  const chat = await phone.follow();
  assert.deepEqual(shown(chat), [[81, '台费？', 'complete']]);
  assert.ok(phone.called.some(([name, options]) => name === 'setNavigationBarTitle' && options.title === '50% 折扣 & 其他'));
  await page.search({ detail: { value: '' } });
  assert.equal(page.data.found, null);

  page.tap('startWithBot', { id: 'b-1', name: '教练助手' });
  assert.equal((await phone.follow()).chatId, 9);
  const [{ query }] = server.sent('GET /chat/messages');
  assert.deepEqual([query.contextType, query.contextId], ['bot', 'b-1']);
  await page.until('openers', () => server.sent('GET /chat/openers').length === 1);
  assert.deepEqual(server.sent('GET /chat/openers')[0].query, { botId: 'b-1' });
});

test('conversations are pinned, renamed and deleted', async (t) => {
  let items = [conversation(7)];
  const { server, phone } = await setUp(t, {
    'GET /chat/history': () => list(items),
    'PUT /chat/7': ({ body }) => {
      items = [{ ...items[0], ...body }];
      return items[0];
    },
    'DELETE /chat/7': () => {
      if (server.sent('DELETE /chat/7').length === 1) return refused(409, 'busy', '正在回复，请稍后再试');
      items = [];
      return noContent;
    },
  });
  const page = await phone.open('conversations');
  const more = async (tapIndex, modal) => {
    phone.choose('showActionSheet', { tapIndex });
    if (modal) phone.choose('showModal', { confirm: true, ...modal });
    await page.tap('more', { id: 7 });
  };
  await more(0);
  assert.equal(page.data.items[0].pinned, true);
  await more(0);
  assert.equal(page.data.items[0].pinned, false);
  await more(1, { content: ' 周报 ' });
  assert.equal(page.data.items[0].title, '周报');
  assert.deepEqual(server.sent('PUT /chat/7').map(({ body }) => body), [{ pinned: true }, { pinned: false }, { title: '周报' }]);
  await more(2, {});
  assert.equal(page.data.hint, '正在回复，请稍后再试');
  await page.tap('more', { id: 7 });
  assert.equal(server.sent('DELETE /chat/7').length, 1, 'the user cancelled');
  await more(2, {});
  assert.deepEqual([page.data.items, page.data.hint], [[], '']);
});

test('a list that cannot be loaded shows the error, and loads again', async (t) => {
  const { server, phone } = await setUp(t, { 'GET /chat/history': () => refused(403, 'not_approved', '账号未通过审核或已停用') });
  const page = await phone.open('conversations');
  assert.equal(page.data.hint, '账号未通过审核或已停用');
  server.routes['GET /chat/history'] = () => list([conversation(7)]);
  await page.tap('reload');
  assert.deepEqual([page.data.hint, page.data.items.length], ['', 1]);
});

// The chat

test('a question is streamed, with its label, progress, references and card', async (t) => {
  const card = { type: 'insight', title: '经营洞察', summary: '本月营收上升', data: { insightId: 5, app: 'app2_finance', target: { type: 'finance', id: 'this_month:大厅', period: 'this_month', area: '大厅' } } };
  const sources = [{ index: 1, title: '价目表', url: 'https://example.com/p', page: 3 }];
  const working = gate();
  const { server, phone } = await setUp(t, {
    'GET /chat/messages': () => messages([]),
    'GET /chat/openers': () => ({ items: ['本月怎么样？'] }),
    'GET /insights': () => ({ items: [] }),
    'POST /chat/stream': () => streamed(
      start(1, 2),
      ['2-0', 'progress', { kind: 'retrieval', name: '价目表' }],
      working.opened.then(() => ['2-0', 'future', { token: 'unknown events are ignored' }]),
      ['2-1', 'message', { token: '好' }],
      ['2-3', 'message', { token: '🎱。' }],
      ['2-3', 'references', { items: sources }],
      done(2, '好🎱。', { referenceCard: card, finishReason: 'length' }),
    ),
  });
  const page = await phone.open('chat', {
    contextType: 'board',
    sourcePage: 'board-finance',
    pageContext: JSON.stringify({ period: 'this_month', area: '大厅' }),
  });
  assert.equal(page.data.page, '财务看板 · 本月 · 大厅');
  await page.until('openers', ({ openers }) => openers.length === 1);
  assert.deepEqual(server.sent('GET /chat/openers')[0].query, { sourcePage: 'board-finance' });
  page.tap('askOpener', { text: '本月怎么样？' });
  await page.until('progress', ({ progress }) => progress === '正在检索：价目表');
  working.open();
  await page.until('the end', idle);
  assert.deepEqual(shown(page), [[1, '本月怎么样？', 'complete'], [2, '好🎱。', 'complete']]);
  const { progress, label, draft, openers, messages: [, stored] } = page.data;
  assert.deepEqual([progress, label, draft, openers, stored.aiGenerated, stored.finishReason], ['', LABEL, '', [], true, 'length']);
  assert.deepEqual(stored.references, sources);
  assert.deepEqual(stored.referenceCard, card);
  const [{ body }] = server.sent('POST /chat/stream');
  assert.deepEqual([body.chatId, body.content, body.sourcePage, body.pageContext], [7, '本月怎么样？', 'board-finance', { period: 'this_month', area: '大厅' }]);

  page.tap('openCard', { card });
  const finance = await phone.follow();
  assert.deepEqual({ ...finance.query() }, { sourcePage: 'board-finance', period: 'this_month', area: '大厅' });
});

test('a dropped page is not sent', async (t) => {
  const { server, phone } = await setUp(t, {
    'GET /chat/messages': () => messages([]),
    'POST /chat/stream': () => streamed(...whole(1, 2, '好')),
  });
  const page = await phone.open('chat', { sourcePage: 'performance' });
  assert.equal(page.data.page, '我的业绩');
  page.tap('dropPage');
  page.type('你好');
  await page.until('the end', idle);
  assert.deepEqual(Object.keys(server.sent('POST /chat/stream')[0].body).sort(), ['chatId', 'clientMessageId', 'content']);
});

test('a reply is stopped', async (t) => {
  const stopped = gate();
  const { server, phone } = await setUp(t, {
    'GET /chat/messages': () => messages([]),
    'POST /chat/stream': () => streamed(start(1, 2), ['2-1', 'message', { token: '好' }], stopped.opened.then(() => done(2, '好', { status: 'stopped' }))),
    'POST /chat/stream/2/stop': () => {
      stopped.open();
      return accepted({ messageId: 2, status: 'stopping' });
    },
  });
  const page = await phone.open('chat');
  page.type('说很久');
  await page.until('text', ({ messages: [, second] }) => second?.content === '好');
  page.stop();
  await page.until('the end', idle);
  assert.deepEqual(shown(page), [[1, '说很久', 'complete'], [2, '好', 'stopped']]);
  assert.equal(server.sent('POST /chat/stream/2/stop').length, 1);
});

test('a connection that breaks is resumed after the last character', async (t) => {
  const { server, phone } = await setUp(t, {
    'GET /chat/messages': () => messages([]),
    'POST /chat/stream': () => streamed(...whole(1, 2, '一二三四')),
    'GET /chat/stream/2': ({ query }) => {
      const events = whole(1, 2, '一二三四');
      return streamed(events[0], ...events.slice(1 + Number(query.after)));
    },
  }, { trouble: (n) => (n === 0 ? { at: 250 } : undefined) });
  const page = await phone.open('chat');
  page.type('数一数');
  await page.until('the end', idle);
  assert.deepEqual(shown(page), [[1, '数一数', 'complete'], [2, '一二三四', 'complete']]);
  assert.equal(server.sent('POST /chat/stream').length, 1);
  const [{ query }] = server.sent('GET /chat/stream/2');
  assert.ok(Number(query.after) > 0, `resumed after ${query.after}`);
});

test('a reply in progress is resumed when its conversation opens', async (t) => {
  const { phone } = await setUp(t, {
    'GET /chat/7/messages': () => messages([question(1, '数一数'), reply(2, '一二', { status: 'streaming' })]),
    'GET /chat/stream/2': ({ query }) => {
      const events = whole(1, 2, '一二三');
      return streamed(events[0], ...events.slice(1 + Number(query.after)));
    },
  });
  const page = await phone.open('chat', { chatId: 7 });
  await page.until('the end', idle);
  assert.deepEqual(shown(page), [[1, '数一数', 'complete'], [2, '一二三', 'complete']]);
});

test('a question that was refused stays in the input field', async (t) => {
  const { phone } = await setUp(t, {
    'GET /chat/messages': () => messages([]),
    'POST /chat/stream': () => refused(422, 'content_blocked', '内容未通过安全检查，请换个说法'),
  });
  const page = await phone.open('chat');
  page.type('不当内容');
  await page.until('the end', idle);
  assert.deepEqual([page.data.hint, page.data.draft, page.data.canRetry, page.data.messages], ['内容未通过安全检查，请换个说法', '不当内容', false, []]);
});

test('a reply to another phone is shown, and the question is kept as a draft', async (t) => {
  const { server, phone } = await setUp(t, {
    'GET /chat/7/messages': () => messages([]),
    'POST /chat/stream': () => refused(409, 'busy', '上一条回复还在生成', { messageId: 2 }),
    'GET /chat/stream/2': () => streamed(...whole(1, 2, '好')),
  });
  const page = await phone.open('chat', { chatId: 7 });
  server.routes['GET /chat/7/messages'] = () => messages([question(1, '另一部手机'), reply(2, '', { status: 'streaming' })]);
  page.type('这部手机');
  await page.until('the other reply', ({ busy, messages: [, second] }) => !busy && second?.status === 'complete');
  assert.deepEqual(shown(page), [[1, '另一部手机', 'complete'], [2, '好', 'complete']]);
  assert.deepEqual([page.data.draft, page.data.hint], ['这部手机', '上一条回复还在生成']);
});

test('older messages are loaded above', async (t) => {
  const { server, phone } = await setUp(t, {
    'GET /chat/7/messages': ({ query }) => (query.cursor ? messages([question(1, '一'), reply(2, '二')]) : messages([question(3, '三'), reply(4, '四')], 'older')),
  });
  const page = await phone.open('chat', { chatId: 7 });
  await page.older();
  await page.older();
  assert.deepEqual(page.data.messages.map(({ id }) => id), [1, 2, 3, 4]);
  assert.equal(page.data.anchor, 'm3');
  assert.deepEqual(server.sent('GET /chat/7/messages').map(({ query }) => [query.order, query.cursor]), [['desc', undefined], ['desc', 'older']]);
});

test('the last reply is generated again, once, and the old one disappears', async (t) => {
  const { server, phone } = await setUp(t, {
    'GET /chat/7/messages': () => messages([question(1, '一'), reply(2, '二'), question(3, '三'), reply(4, '旧')]),
    'POST /chat/7/regenerate': () => streamed(...whole(3, 5, '新')),
  }, { trouble: (n) => (n === 0 ? { at: -1 } : undefined) });
  const page = await phone.open('chat', { chatId: 7 });
  page.onInput({ detail: { value: '下一个问题' } });
  page.regenerate();
  await page.until('the end', idle);
  assert.equal(page.data.draft, '下一个问题');
  assert.deepEqual(shown(page).map(([id, content]) => [id, content]), [[1, '一'], [2, '二'], [3, '三'], [5, '新']]);
  const sent = server.sent('POST /chat/7/regenerate').map(({ body }) => body);
  assert.equal(sent.length, 2, 'the first response was lost');
  assert.deepEqual(Object.keys(sent[0]), ['clientMessageId']);
  assert.deepEqual(sent[0], sent[1]);
});

test('a page that was closed during a new reply continues with it', async (t) => {
  const storage = new Map();
  const cut = gate();
  const { server, phone } = await setUp(t, {
    'GET /chat/7/messages': () => messages([question(3, '三'), reply(4, '旧')]),
    'POST /chat/7/regenerate': () => streamed(cut.opened.then(() => start(3, 5))),
  }, { storage });
  const first = await phone.open('chat', { chatId: 7 });
  first.regenerate();
  await first.until('the request', () => server.sent('POST /chat/7/regenerate').length === 1);
  first.onUnload();
  cut.open();
  server.routes['POST /chat/7/regenerate'] = () => streamed(...whole(3, 5, '新'));
  const next = await createPhone({ baseUrl: server.baseUrl, token: 'token', storage }).open('chat', { chatId: 7 });
  await next.until('the end', idle);
  assert.deepEqual(shown(next).map(([id, content]) => [id, content]), [[3, '三'], [5, '新']]);
  const [one, other] = server.sent('POST /chat/7/regenerate');
  assert.deepEqual(one.body, other.body);
  assert.equal(storage.size, 0);
});

test('the last question is edited, and both messages are replaced', async (t) => {
  const { server, phone } = await setUp(t, {
    'GET /chat/7/messages': () => messages([question(1, '一'), reply(2, '二'), question(3, '三'), reply(4, '旧')]),
    'POST /chat/stream': () => streamed(...whole(5, 6, '新')),
  });
  const page = await phone.open('chat', { chatId: 7 });
  page.tap('edit', { id: 3 });
  assert.deepEqual([page.data.draft, page.data.editing], ['三', 3]);
  page.tap('cancelEdit');
  assert.deepEqual([page.data.draft, page.data.editing], ['', null]);
  page.tap('edit', { id: 3 });
  page.type('三？');
  await page.until('the end', idle);
  const [{ body }] = server.sent('POST /chat/stream');
  assert.deepEqual([body.chatId, body.edits, body.content], [7, 3, '三？']);
  assert.deepEqual(shown(page).map(([id, content]) => [id, content]), [[1, '一'], [2, '二'], [5, '三？'], [6, '新']]);
  assert.equal(page.data.editing, null);
  page.type('四');
  await page.until('the second', () => server.sent('POST /chat/stream').length === 2);
  assert.equal(server.sent('POST /chat/stream')[1].body.edits, undefined);
  await page.until('the end', idle);
});

test('a reply gets a thumb, and loses it by a second touch', async (t) => {
  const { server, phone } = await setUp(t, {
    'GET /chat/7/messages': () => messages([question(1, '一'), reply(2, '二')]),
    'PUT /chat/messages/2/feedback': ({ body }) => body,
  });
  const page = await phone.open('chat', { chatId: 7 });
  await page.tap('rate', { id: 2, rating: 'up' });
  assert.equal(page.data.messages[1].feedback.rating, 'up');
  phone.choose('showActionSheet', { tapIndex: 0 });
  await page.tap('rate', { id: 2, rating: 'down' });
  assert.equal(page.data.messages[1].feedback.rating, 'down');
  await page.tap('rate', { id: 2, rating: 'down' });
  assert.equal(page.data.messages[1].feedback.rating, null);
  assert.deepEqual(server.sent('PUT /chat/messages/2/feedback').map(({ body }) => body), [{ rating: 'up' }, { rating: 'down', reasons: ['inaccurate'] }, { rating: null }]);
  server.routes['PUT /chat/messages/2/feedback'] = () => refused(404, 'not_found', '内容不存在');
  await page.tap('rate', { id: 2, rating: 'up' });
  assert.deepEqual([page.data.hint, page.data.messages[1].feedback.rating], ['内容不存在', null]);
});

test('a report is sent once, and shows when it will be answered', async (t) => {
  const { server, phone } = await setUp(t, {
    'GET /chat/7/messages': () => messages([question(1, '一'), reply(2, '二')]),
    'POST /reports': () => created({ reportId: 1, dueAt: '2031-06-06T08:00:00+00:00' }),
  });
  const page = await phone.open('chat', { chatId: 7 });
  await page.tap('report', { id: 2 });
  phone.choose('showActionSheet', { tapIndex: 3 });
  await page.tap('report', { id: 2 });
  assert.equal(server.sent('POST /reports').length, 0, 'the user cancelled twice');
  phone.choose('showActionSheet', { tapIndex: 3 });
  phone.choose('showModal', { confirm: true, content: '有违规内容' });
  await page.tap('report', { id: 2 });
  assert.deepEqual(server.sent('POST /reports')[0].body, { subjectType: 'message', subjectId: 2, reason: 'illegal', text: '有违规内容' });
  assert.match(phone.called.at(-1)[1].content, /2031年6月6日/);

  server.routes['POST /reports'] = () => refused(503, 'unavailable', '服务暂时不可用');
  phone.choose('showActionSheet', { tapIndex: 0 });
  phone.choose('showModal', { confirm: true, content: '' });
  await page.tap('report', { id: 2 });
  assert.equal(page.data.hint, '服务暂时不可用');
  assert.equal(server.sent('POST /reports').length, 2);
});

// Insights

const TITLES = { app2_finance: '经营洞察', app2a_finance_area: '区域对比' };
const insight = (app, state, more) => ({
  id: null,
  app,
  title: TITLES[app],
  target: { type: 'finance', id: 'this_month:all', period: 'this_month', area: 'all' },
  state,
  stale: false,
  result: null,
  score: null,
  generatedAt: null,
  expiresAt: null,
  promptVersion: null,
  aiGenerated: true,
  feedback: null,
  ...more,
});
const ready = (app, id, result, more) => insight(app, 'ready', { id, result, generatedAt: AT, expiresAt: AT, feedback: { rating: null }, ...more });
const FINANCE = { insights: [{ seq: 1, title: '营收上升', body: '比上月高一成。' }] };

test('finance insights follow the period and the area', async (t) => {
  const { server, phone } = await setUp(t, {
    'GET /insights': () => ({ items: [ready('app2_finance', 5, FINANCE, { feedback: { rating: 'up' } }), insight('app2a_finance_area', 'missing')] }),
    'PUT /insights/5/feedback': ({ body }) => body,
  });
  const page = await phone.open('finance');
  const [finance, areas] = page.data.items;
  assert.deepEqual([finance.title, finance.state, finance.rating, finance.sections], ['经营洞察', 'ready', 'up', [{ tag: '', title: '营收上升', body: '比上月高一成。' }]]);
  assert.deepEqual([areas.title, areas.state, areas.sections], ['区域对比', 'missing', []]);
  await page.until('the label', ({ label }) => label === LABEL);
  await page.choosePeriod({ detail: { value: '3' } });
  await page.chooseArea({ detail: { value: 1 } });
  assert.deepEqual(server.sent('GET /insights').map(({ query }) => [query.sourcePage, query.period, query.area]), [
    ['board-finance', 'this_month', 'all'],
    ['board-finance', 'last_week', 'all'],
    ['board-finance', 'last_week', '大厅'],
  ]);
  await page.tap('rate', { id: 5, rating: 'up' });
  assert.equal(page.data.items[0].rating, '');
  assert.equal(page.data.isEmpty, false);

  page.tap('ask');
  server.routes['GET /chat/messages'] = () => messages([]);
  const chat = await phone.follow();
  assert.equal(chat.data.page, '财务看板 · 上周 · 大厅');

  server.routes['GET /insights'] = () => ({ items: [] }); // For a coach.
  await page.load();
  assert.deepEqual([page.data.items, page.data.isEmpty], [[], true]);
});

test('insights are refreshed, and shown as they become ready', async (t) => {
  const clock = createClock();
  let states = [insight('app2_finance', 'missing'), insight('app2a_finance_area', 'disabled', { detail: '该分析尚未启用' })];
  const { server, phone } = await setUp(t, {
    'GET /insights': () => ({ items: states }),
    'POST /insights/refresh': () => accepted({ jobId: 3, state: 'generating' }),
  }, { clock });
  const page = await phone.open('finance');
  const loads = () => server.sent('GET /insights').length;
  const next = async () => {
    const before = loads();
    clock.tick(3000);
    while (loads() === before || page.data.isLoading) await new Promise(setImmediate);
  };
  clock.tick(60000);
  assert.equal(loads(), 1, 'nothing is generated, so the page waits for the user');
  await page.tap('refresh');
  assert.deepEqual(server.sent('POST /insights/refresh')[0].body, { sourcePage: 'board-finance', period: 'this_month', area: 'all' });
  assert.equal(page.data.isWaiting, true);
  states = [insight('app2_finance', 'generating', { id: 4, result: FINANCE, stale: true, generatedAt: AT }), states[1]];
  await next();
  assert.deepEqual(page.data.items.map(({ state, stale, sections }) => [state, stale, sections.length]), [['generating', true, 1], ['disabled', false, 0]]);
  page.onHide();
  clock.tick(60000);
  const hidden = loads();
  await page.onShow();
  assert.equal(loads(), hidden + 1, 'a hidden page does not load');
  states = [insight('app2_finance', 'failed', { detail: '生成失败，请稍后再试' }), states[1]];
  await next();
  assert.deepEqual([page.data.items[0].state, page.data.items[0].detail, page.data.isWaiting], ['failed', '生成失败，请稍后再试', false]);

  // A job makes one insight after the other. Between its steps, none is being generated.
  states = [insight('app2_finance', 'missing'), insight('app2a_finance_area', 'missing')];
  await page.load();
  await page.tap('refresh');
  await next();
  states = [ready('app2_finance', 5, FINANCE), states[1]];
  await next();
  assert.deepEqual([page.data.items[0].state, page.data.isWaiting], ['ready', true]);
  states = [states[0], ready('app2a_finance_area', 6, FINANCE)];
  await next();
  assert.equal(page.data.isWaiting, false);
  await page.tap('regenerate');
  assert.equal(page.data.isWaiting, true, 'the results are still the old ones');
  states = states.map((item) => ({ ...item, generatedAt: '2026-05-30T09:00:00+00:00' }));
  await next();
  assert.equal(page.data.isWaiting, false);
  const ended = loads();
  clock.tick(60000);
  assert.equal(loads(), ended);

  server.routes['POST /insights/refresh'] = () => refused(403, 'forbidden', '没有权限');
  await page.tap('regenerate');
  assert.equal(server.sent('POST /insights/refresh').at(-1).body.force, true);
  assert.equal(page.data.hint, '没有权限');
  server.routes['POST /insights/refresh'] = () => ({ jobId: null, state: 'ready' });
  await page.tap('refresh');
  assert.deepEqual([page.data.isWaiting, page.data.hint], [false, '']);
  page.onUnload();
});

test('insights into a member have sections for each app', async (t) => {
  const member = { target: { type: 'member', id: 10305 } };
  const { server, phone } = await setUp(t, {
    'GET /insights': () => ({
      items: [
        ready('app8_clue_consolidated', 8, { clues: [{ category: '流失风险', summary: '来得变少', detail: '近 30 天 1 次', providers: ['app3'] }] }, member),
        ready('app7_customer_analysis', 7, { summary: '需要回访', strategies: [{ title: '邀约', content: '周末前联系' }], unknown: 1 }, member),
        insight('app3_clue', 'failed', { ...member, detail: '生成失败' }),
      ],
    }),
    'POST /reports': () => created({ reportId: 1, dueAt: AT }),
  });
  const page = await phone.open('member', { memberId: 10305 });
  assert.deepEqual(server.sent('GET /insights')[0].query, { sourcePage: 'customer-detail', contextId: '10305' });
  assert.deepEqual(page.data.items.map(({ sections }) => sections), [
    [{ tag: '流失风险', title: '来得变少', body: '近 30 天 1 次' }],
    [{ tag: '', title: '需要回访', body: '' }, { tag: '', title: '邀约', body: '周末前联系' }],
    [],
  ]);
  phone.choose('showActionSheet', { tapIndex: 5 });
  phone.choose('showModal', { confirm: true, content: '' });
  await page.tap('report', { id: 8 });
  assert.deepEqual(server.sent('POST /reports')[0].body, { subjectType: 'insight', subjectId: 8, reason: 'other' });

  server.routes['POST /insights/refresh'] = () => accepted({ jobId: 4, state: 'generating' });
  await page.tap('refresh');
  assert.deepEqual(server.sent('POST /insights/refresh')[0].body, { sourcePage: 'customer-detail', contextId: 10305 });
  page.onUnload();

  const empty = await phone.open('member');
  assert.equal(server.sent('GET /insights').length, 2, 'no member is chosen yet');
  await empty.choose({ detail: { value: ' 10001 ' } });
  assert.equal(server.sent('GET /insights').at(-1).query.contextId, '10001');
  empty.tap('ask');
  server.routes['GET /chat/messages'] = () => messages([]);
  const chat = await phone.follow();
  assert.equal(chat.data.page, '会员详情 · 10001');
});

// The notice

test('the notice shows models, complaints, usage and reports, and exports', async (t) => {
  const { server, phone } = await setUp(t, {
    'GET /usage': () => ({ day: { tokens: 12345, limit: 100000 }, month: { tokens: 12345, limit: null } }),
    'GET /reports': () => ({
      items: [
        { reportId: 2, subjectType: 'message', subjectId: 2, reason: 'illegal', text: '有违规', state: 'open', dueAt: AT, createdAt: AT, resolvedAt: null, answer: null },
        { reportId: 1, subjectType: 'insight', subjectId: 5, reason: 'other', text: null, state: 'resolved', dueAt: AT, createdAt: AT, resolvedAt: AT, answer: '已更正' },
      ],
      nextCursor: null,
    }),
    'GET /chat/export': () => ({ chatId: 7 }),
  });
  const page = await phone.open('notice');
  assert.deepEqual(page.data.notice, NOTICE);
  assert.deepEqual(page.data.usage, [{ name: '今天', text: '12,345 / 100,000 tokens' }, { name: '本月', text: '12,345 tokens' }]);
  assert.deepEqual(page.data.reports.map(({ reasonText, isOpen, answer }) => [reasonText, isOpen, answer]), [['违法违规', true, null], ['其他', false, '已更正']]);
  await page.tap('exportChats');
  assert.equal(phone.files.get('wxfile://usr/conversations.jsonl'), '{"chatId":7}');
  assert.equal(phone.called.at(-1)[0], 'shareFileMessage');

  server.routes['GET /usage'] = () => refused(404, 'not_found', '内容不存在');
  await page.tap('load');
  assert.deepEqual([page.data.hint, page.data.notice.label], ['内容不存在', LABEL]);
});

// The project

const PAGES = JSON.parse(read('app.json')).pages;

test('the project has the files that it names', () => {
  for (const page of PAGES) {
    for (const suffix of ['js', 'json', 'wxml', 'wxss']) assert.ok(existsSync(new URL(`${page}.${suffix}`, HOME)), `${page}.${suffix}`);
    JSON.parse(read(`${page}.json`));
  }
  const theme = JSON.parse(read('theme.json'));
  for (const [, name] of read('app.json').matchAll(/"@(\w+)"/g)) assert.ok(theme.light[name] && theme.dark[name], name);
  assert.equal(JSON.parse(read('project.config.json')).appid, 'touristappid');
  JSON.parse(read('sitemap.json'));
});

test('events of a view have handlers in its page', () => {
  for (const path of PAGES) {
    const page = loadPage(path.split('/')[1], {});
    let view = read(`${path}.wxml`);
    for (const [, imported] of view.matchAll(/<import src="\.\.\/\.\.\/([^"]+)"/g)) view += read(imported);
    const handlers = [...view.matchAll(/\s(?:bind|catch)\w+="([^"]+)"/g)].map(([, name]) => name);
    assert.ok(handlers.length > 0);
    for (const name of handlers) assert.equal(typeof page[name], 'function', `${path}: ${name}`);
  }
});

test('both clients have the same core', () => {
  assert.equal(read('core.js'), read('../core.js'), 'run: cp clients/core.js clients/mini-program/core.js');
});
