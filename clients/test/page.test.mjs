// The page of a conversation, in a phone's JavaScript environment, against Parlor.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { api, baseUrl, skip, stored, token } from './stand-ins/clients.mjs';
import { createPhone } from './stand-ins/program.mjs';

/** Opens the page of a task's conversation. */
function show(contextId, { storage, trouble } = {}) {
  return createPhone({ baseUrl, token, storage, trouble }).open('chat', { contextType: 'task', contextId });
}

const shown = (page) => page.data.messages.map(({ id, role, content, status }) => ({ id, role, content, status }));
const kept = async (page) => (await stored(page.chatId)).map(({ id, role, content, status }) => ({ id, role, content, status }));

let made = 0;
function contextId() {
  made += 1;
  return `page-${process.pid}-${Date.now().toString(36)}-${made}`;
}

test('a page shows what is stored, after the background too', { skip }, async () => {
  const page = await show(contextId());
  page.type('[[sim:slow:2]]怎么跟进？');
  assert.ok(page.data.busy);
  await page.until('text comes', ({ messages }) => messages[1]?.content.length > 3);
  assert.equal(page.data.draft, '');
  page.onHide();
  page.onShow();
  await page.until('the end', ({ busy }) => !busy);
  assert.equal(page.data.messages[1].status, 'complete');
  assert.deepEqual(shown(page), await kept(page));
});

test('stopped before anything was heard, it stops', { skip }, async () => {
  const page = await show(contextId());
  page.type('[[sim:slow:30]]说很久');
  page.stop();
  await page.until('the end', ({ busy }) => !busy);
  assert.equal(page.data.messages[1].status, 'stopped');
  assert.deepEqual(shown(page), await kept(page));
});

test('a page that is closed is taken up by the next', { skip }, async () => {
  const id = contextId();
  const storage = new Map();
  const first = await show(id, { storage });
  first.type('[[sim:slow:2]]还没完');
  await first.until('text comes', ({ messages }) => messages[1]?.content.length > 3);
  first.onUnload();
  // Another phone has no kept message. It finds the reply in progress in the list.
  for (const next of [await show(id, { storage }), await show(id)]) {
    await next.until('the end', ({ busy, messages }) => !busy && messages[1]?.status === 'complete');
    assert.deepEqual(shown(next), await kept(next));
  }
});

test('what fails can be tried again, and is the same message', { skip }, async () => {
  const storage = new Map();
  let away = true;
  const answer = { status: 403, headers: {}, body: '{"code":"not_approved","detail":"账号未通过审核或已停用"}' };
  const page = await show(contextId(), { storage, trouble: (n) => (n === 0 ? { answer } : away && { at: 150, answer: late }) });
  const late = { status: 429, headers: { 'retry-after': '3600' }, body: '{"code":"budget_exceeded","detail":"AI 用量已达上限，请稍后再试"}' };
  page.type('[[sim:echo]]你好');
  await page.until('the refusal', ({ busy }) => !busy);
  assert.deepEqual([page.data.hint, page.data.canRetry, page.data.draft], ['账号未通过审核或已停用', false, '[[sim:echo]]你好']);
  page.send();
  await page.until('the refusal', ({ busy }) => !busy);
  assert.deepEqual([page.data.hint, page.data.canRetry], ['AI 用量已达上限，请稍后再试', true]);
  away = false;
  page.retry();
  await page.until('the end', ({ busy }) => !busy);
  assert.equal(page.data.hint, '');
  assert.deepEqual(shown(page), await kept(page));
  assert.equal(page.data.messages.length, 2);
});

test('insights into a member are generated on request', { skip }, async () => {
  const phone = createPhone({ baseUrl, token });
  const page = await phone.open('member', { memberId: 10001 });
  await page.tap('refresh');
  await page.until('all results', ({ items }) => items.length === 3 && items.every(({ state }) => state === 'ready'));
  for (const { title, sections } of page.data.items) assert.ok(sections.length > 0, title);
  page.onUnload();
});

/** Opens the conversation about a member whose results are ready, as its page does. */
async function aboutMember(phone) {
  const member = await phone.open('member', { memberId: 10002 });
  await member.tap('refresh');
  await member.until('all results', ({ items }) => items.length === 3 && items.every(({ state }) => state === 'ready'));
  member.onUnload();
  const page = await phone.open('chat', {
    contextType: 'task',
    contextId: contextId(),
    sourcePage: 'customer-detail',
    pageContext: JSON.stringify({ contextId: '10002' }),
  });
  return { page, member };
}

test('the card of a reply leads to its insight, also after the list is loaded again', { skip }, async () => {
  const phone = createPhone({ baseUrl, token });
  const { page, member } = await aboutMember(phone);
  page.type('怎么跟进？');
  await page.until('the end', ({ busy }) => !busy);
  const [, { referenceCard: card, finishReason, id }] = page.data.messages;
  assert.equal(finishReason, 'stop');
  assert.equal(card.data.insightId, member.data.items.find(({ app }) => app === card.data.app).id);
  assert.ok(card.title && card.summary);

  const again = await phone.open('chat', { chatId: page.chatId });
  assert.deepEqual(again.data.messages.find((message) => message.id === id).referenceCard, card);
  again.tap('openCard', { card });
  const opened = await phone.follow();
  assert.deepEqual({ ...opened.query() }, { sourcePage: 'customer-detail', contextId: 10002 });
  await opened.until('its insights', ({ items }) => items.some((item) => item.id === card.data.insightId));
  opened.onUnload();
});

test('a new reply and an edited question have the card of their page', { skip }, async () => {
  const { page } = await aboutMember(createPhone({ baseUrl, token }));
  page.type('怎么跟进？');
  await page.until('the end', ({ busy }) => !busy);
  const first = page.data.messages[1].id;
  page.regenerate();
  await page.until('the new reply', ({ busy, messages }) => !busy && messages[1].id !== first);
  assert.equal(page.data.messages[1].referenceCard.type, 'insight');
  page.tap('edit', { id: page.data.messages[0].id });
  page.type('下周怎么跟进？');
  await page.until('the edited question', ({ busy, messages }) => !busy && messages[0].content === '下周怎么跟进？');
  assert.equal(page.data.messages[1].referenceCard.type, 'insight');
  assert.deepEqual(shown(page), await kept(page));
});

test('thumbs and reports on replies and insights are stored', { skip }, async () => {
  const phone = createPhone({ baseUrl, token });
  const { page, member } = await aboutMember(phone);
  page.type('怎么跟进？');
  await page.until('the end', ({ busy }) => !busy);
  const { id } = page.data.messages[1];
  await page.tap('rate', { id, rating: 'up' });
  phone.choose('showActionSheet', { tapIndex: 0 });
  phone.choose('showModal', { confirm: true, content: '数字不对' });
  await page.tap('report', { id });
  assert.equal((await stored(page.chatId))[1].feedback.rating, 'up');
  const insight = member.data.items[0].id;
  await member.tap('rate', { id: insight, rating: 'up' });
  phone.choose('showActionSheet', { tapIndex: 0 });
  phone.choose('showModal', { confirm: true, content: '' });
  await member.tap('report', { id: insight });
  assert.deepEqual([page.data.hint, member.data.hint, member.data.items[0].rating], ['', '', 'up']);
  const { body } = await api('GET', '/api/xcx/reports?page_size=2');
  assert.deepEqual(body.items.map(({ subjectType, subjectId }) => [subjectType, subjectId]), [['insight', insight], ['message', id]]);
  // The rating is removed, so that another run of the tests begins without it.
  await member.tap('rate', { id: insight, rating: 'up' });
  assert.equal(member.data.items[0].rating, '');
});

test('a conversation is renamed, pinned and deleted', { skip }, async () => {
  const phone = createPhone({ baseUrl, token });
  const chat = await show(contextId());
  chat.type('你好');
  await chat.until('the end', ({ busy }) => !busy);
  const id = chat.chatId;
  const page = await phone.open('conversations');
  const shownItem = () => page.data.items.find((item) => item.id === id);
  const more = async (tapIndex, modal) => {
    phone.choose('showActionSheet', { tapIndex });
    if (modal) phone.choose('showModal', { confirm: true, ...modal });
    await page.tap('more', { id });
  };
  await more(1, { content: '周报' });
  await more(0);
  assert.deepEqual([page.data.hint, shownItem().title, shownItem().pinned], ['', '周报', true]);
  await more(2, {});
  assert.equal(shownItem(), undefined);
});

test('the notice and the label are those of the server', { skip }, async () => {
  const phone = createPhone({ baseUrl, token });
  const page = await phone.open('notice');
  const { body } = await api('GET', '/api/xcx/ai-notice');
  assert.deepEqual(page.data.notice, body);
  const chat = await phone.open('chat', { contextType: 'task', contextId: contextId() });
  await chat.until('the label', ({ label }) => label === body.label);
});
