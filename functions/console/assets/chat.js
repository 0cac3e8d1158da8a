// The chat page. `browser/chat.js` streams replies and resumes them after a reload.

import { createChat } from './browser/chat.js';

const baseUrl = location.pathname.replace(/\/chat\/?$/, '');
const language = document.documentElement.lang;
const byId = (id) => document.getElementById(id);
const texts = Object.fromEntries(
  [...document.querySelectorAll('#texts dt')].map((term) => [
    term.textContent,
    term.nextElementSibling.textContent,
  ]),
);

const form = byId('composer').elements;
const nodes = new Map(); // The element of each shown message, by the id of the message.

let chat; // The client of the open conversation. Another conversation gets another client.
let chatId;
let title = '';
let isPinned = false;
let botId;
let messages = []; // Oldest first.
let older = null; // The cursor of older messages.
let isBusy = false;
let replyId; // The reply in progress, as soon as its id is known.
let sent = ''; // The last question.
let isStopWanted = false;
let editing; // The id of the question that the draft replaces.
let opened = 0; // Counts conversations that were opened.
let reports = new Map(); // The user's newest report about each message, by the id of the message.

// The cookie is the credential, so there is no token.
const connect = () => createChat({ baseUrl, token: () => '' });
const call = (method, path, body, options) =>
  chat.call(method, `/api/xcx${path}`, { body, ...options });
const clone = (id) => byId(id).content.firstElementChild.cloneNode(true);
const timeText = (iso) =>
  iso ? new Date(iso).toLocaleString(language, { dateStyle: 'short', timeStyle: 'short' }) : '';

// Conversations

const list = { items: [], cursor: null, q: '', loads: 0 };

async function loadList(cursor) {
  list.loads += 1;
  const load = list.loads;
  const path = list.q ? '/chat/search' : '/chat/history';
  const query = new URLSearchParams();
  if (list.q) query.set('q', list.q);
  if (cursor) query.set('cursor', cursor);
  const page = await call('GET', `${path}?${query}`);
  if (load !== list.loads) return; // A newer one has begun.
  list.items = cursor ? [...list.items, ...page.items] : page.items;
  list.cursor = page.nextCursor;
  drawList();
}

function drawList() {
  byId('list').replaceChildren(
    ...list.items.map((item) => {
      const node = clone('chat-item');
      const id = item.chatId ?? item.id;
      node.querySelector('strong').textContent = item.title || byId('title').dataset.new;
      node.querySelector('.status').hidden = !item.pinned;
      node.querySelector('small').textContent = item.snippet ?? item.lastMessage;
      node.querySelector('time').textContent = timeText(item.lastMessageAt || item.createdAt);
      const button = node.querySelector('button');
      if (id === chatId) button.setAttribute('aria-current', 'true');
      button.addEventListener('click', () => run(open(id, item)));
      return node;
    }),
  );
  byId('none').hidden = list.items.length > 0 || list.q !== '';
  byId('no-hits').hidden = list.items.length > 0 || list.q === '' || list.cursor !== null;
  byId('more').hidden = !list.cursor;
  const current = list.q ? undefined : list.items.find(({ id }) => id === chatId);
  if (current) {
    title = current.title;
    isPinned = current.pinned;
    drawHead();
  }
}

function drawHead() {
  byId('title').textContent = title || byId('title').dataset.new;
  byId('actions').hidden = messages.length === 0;
  document.querySelector('[data-do=pin]').hidden = isPinned;
  document.querySelector('[data-do=unpin]').hidden = !isPinned;
}

/** Opens a conversation by its id. */
const open = (id, item = {}) =>
  enter(item.title, item.contextType === 'bot' ? item.contextId : undefined, async () => {
    const page = await call('GET', `/chat/${id}/messages?order=desc&page_size=50`);
    return { chatId: id, items: page.items.reverse(), nextCursor: page.nextCursor };
  });

/** Opens the conversation with a bot. */
const openBot = ({ id, displayName }) => enter(displayName, id, () => chat.open('bot', id));

/** Opens the current conversation that is about nothing in particular. */
const openCurrent = () => enter('', undefined, () => chat.open('general', ''));

/** Starts a conversation. Only a context with a new id has no conversation yet. */
const start = () => enter('', undefined, () => chat.open('general', Date.now().toString(36)));

async function enter(name, bot, load) {
  chat?.sleep();
  chat = connect();
  opened += 1;
  const turn = opened;
  const { chatId: id, items, nextCursor } = await load();
  if (turn !== opened) return;
  Object.assign(form.draft, { value: '' });
  chatId = id;
  messages = items;
  older = nextCursor;
  title = name ?? '';
  isPinned = false;
  botId = bot;
  editing = undefined;
  replyId = undefined;
  isBusy = false;
  nodes.clear();
  byId('messages').replaceChildren();
  byId('openers').hidden = true;
  history.replaceState(null, '', `chat?chat=${chatId}`);
  document.querySelector('[name=next]').value = `chat?chat=${chatId}`; // After a change of language.
  if (matchMedia('(max-width: 47rem)').matches) byId('chats').open = false;
  hint();
  drawHead();
  draw();
  drawList();
  toEnd(true);
  // First look for a question without a known answer, then for a reply in progress.
  const newest = messages.at(-1);
  const question = chat.recover(chatId, callbacks());
  sent = question ?? '';
  if (question !== null) {
    begin();
  } else if (newest?.status === 'streaming') {
    begin();
    chat.resume(newest.id, { ...callbacks(), text: newest.content });
  } else if (!newest) {
    run(showOpeners());
  }
}

async function showOpeners() {
  const about = aboutPage();
  const query = new URLSearchParams();
  if (botId) query.set('botId', botId);
  else if (about.sourcePage) query.set('sourcePage', about.sourcePage);
  const turn = opened;
  const { items } = await call('GET', `/chat/openers?${query}`);
  if (turn !== opened || messages.length > 0) return;
  byId('openers').hidden = items.length === 0;
  byId('openers').lastElementChild.replaceChildren(
    ...items.map((text) => tag(text, () => ask(text))),
  );
}

function tag(text, onClick) {
  const button = document.createElement('button');
  Object.assign(button, { type: 'button', className: 'tag', textContent: text });
  button.addEventListener('click', onClick);
  return button;
}

async function showBots() {
  const { items } = await call('GET', '/chat/bots');
  const bots = byId('bots');
  bots.replaceChildren(
    ...items.map((bot) => {
      const button = tag(bot.displayName, () => run(openBot(bot)));
      button.title = `${bots.dataset.text} ${bot.displayName}`;
      return button;
    }),
  );
}

const changes = {
  pin: () => call('PUT', `/chat/${chatId}`, { pinned: true }),
  unpin: () => call('PUT', `/chat/${chatId}`, { pinned: false }),
  async rename() {
    const answer = await askUser({
      title: texts.rename,
      label: texts.title,
      value: title,
      limit: 100,
    });
    if (answer?.text)
      await call('PUT', `/chat/${chatId}`, { title: answer.text.replace(/\s+/g, ' ') });
  },
  async delete() {
    const answer = await askUser({ title: texts.delete, note: texts.deleteNote });
    if (!answer) return;
    await call('DELETE', `/chat/${chatId}`).catch((error) => {
      // The response to the previous attempt was lost: the conversation is deleted already.
      if (error.status !== 404) throw error;
    });
    await openCurrent();
  },
};

// Messages

function draw() {
  const shown = byId('messages');
  const ids = new Set(messages.map(({ id }) => id));
  for (const [id, node] of nodes) {
    if (!ids.has(id)) {
      node.remove();
      nodes.delete(id);
    }
  }
  messages.forEach((message, at) => {
    if (!nodes.has(message.id)) {
      const node = clone('message');
      node.addEventListener('click', ({ target }) =>
        actions[target.dataset.do]?.(message.id, target),
      );
      nodes.set(message.id, node);
    }
    const node = nodes.get(message.id);
    if (shown.children[at] !== node) shown.insertBefore(node, shown.children[at] ?? null);
    drawMessage(message, at);
  });
  shown.ariaBusy = String(isBusy);
  byId('older').hidden = !older;
  byId('actions').hidden = messages.length === 0;
  byId('send').hidden = isBusy;
  byId('stop').hidden = !isBusy;
  byId('editing').hidden = editing === undefined;
  run(format());
}

function drawMessage(message, at) {
  const node = nodes.get(message.id);
  const isReply = message.role === 'assistant';
  const isOver = message.status !== 'streaming';
  node.classList.add(isReply ? 'reply' : 'question');
  node.querySelector('h3').textContent =
    `${isReply ? texts.assistant : texts.you} · ${timeText(message.createdAt)}`;
  drawText(message);
  const notes = {
    streaming: !isOver && !message.content,
    blocked: message.blocked,
    length: message.finishReason === 'length',
    reported: reports.has(message.id),
  };
  for (const note of node.querySelectorAll('[data-note]')) {
    note.hidden = !(notes[note.dataset.note] ?? (isReply && message.status === note.dataset.note));
    if (note.dataset.note === 'streaming')
      note.textContent = `${message.progress || texts.replying}…`;
    if (note.dataset.note === 'reported' && !note.hidden)
      note.textContent = reportText(reports.get(message.id));
  }
  drawReferences(node.querySelector('.references'), message.references ?? []);
  const card = node.querySelector('.card');
  card.hidden = !message.referenceCard;
  if (message.referenceCard) {
    card.firstElementChild.textContent = message.referenceCard.title;
    card.firstElementChild.href = insightUrl(message.referenceCard.data);
    card.lastElementChild.textContent = message.referenceCard.summary;
  }
  const label = node.querySelector('.label');
  label.hidden = !(isReply && message.aiGenerated && message.content);
  if (message.label) label.textContent = message.label;
  const may = isReply && isOver && !message.blocked;
  const isLast = at === messages.length - 1;
  const offered = {
    up: may && message.content,
    down: may && message.content,
    copy: message.content && isOver,
    report: may && message.content,
    again: may && isLast && !isBusy,
    edit: !isReply && !isBusy && at === messages.length - 2,
  };
  for (const button of node.querySelectorAll('[data-do]')) {
    const name = button.dataset.do;
    button.hidden = !offered[name];
    if (name === 'up' || name === 'down')
      button.ariaPressed = String(message.feedback?.rating === name);
  }
}

function drawText(message) {
  const place = nodes.get(message.id).querySelector('.text');
  const isFormatted = message.html !== undefined && message.status !== 'streaming';
  place.classList.toggle('plain-text', !isFormatted);
  // The server has removed everything from the HTML that could act.
  if (!isFormatted) place.textContent = message.content;
  else if (place.dataset.html !== message.html) place.innerHTML = message.html;
  place.dataset.html = isFormatted ? message.html : '';
}

function drawReferences(place, references) {
  place.hidden = references.length === 0;
  place.lastElementChild.replaceChildren(
    ...references.map(({ index, title: name, url, page }) => {
      const item = document.createElement('li');
      const text = `[${index}] ${name}`;
      if (url && /^https?:/.test(url)) {
        const link = document.createElement('a');
        Object.assign(link, {
          href: url,
          rel: 'noopener noreferrer',
          target: '_blank',
          textContent: text,
        });
        item.append(link);
      } else {
        item.append(text);
      }
      if (page !== null && page !== undefined) item.append(` · ${texts.page} ${page}`);
      return item;
    }),
  );
}

const MAX_BODY = 100000; // The server accepts 128 KiB.

/** Replaces the text of finished replies by HTML from Markdown. Without it, the text stays. */
async function format() {
  const waiting = messages.filter(
    (message) =>
      message.role === 'assistant' &&
      message.status !== 'streaming' &&
      message.content &&
      message.html === undefined &&
      !message.isAsked,
  );
  let size = 0;
  const some = waiting.filter(({ content }) => {
    size += new Blob([JSON.stringify(content)]).size;
    return size < MAX_BODY;
  });
  waiting
    .slice(0, Math.max(some.length, 1))
    .forEach((message) => Object.assign(message, { isAsked: true }));
  if (some.length === 0) return;
  const response = await fetch(`${baseUrl}/markdown`, {
    method: 'POST',
    credentials: 'same-origin',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ texts: some.map(({ content }) => content) }),
  });
  if (!response.ok || response.redirected) return;
  const { html } = await response.json();
  const isEnd = isAtEnd();
  some.forEach((message, at) => {
    Object.assign(message, { html: html[at] });
    if (nodes.has(message.id)) drawText(message);
  });
  if (isEnd) toEnd(true);
  await format();
}

async function loadOlder() {
  const turn = opened;
  const page = await call(
    'GET',
    `/chat/${chatId}/messages?order=desc&page_size=50&cursor=${encodeURIComponent(older)}`,
  );
  if (turn !== opened) return;
  messages = [...page.items.reverse(), ...messages];
  older = page.nextCursor;
  draw();
}

const isAtEnd = () => innerHeight + scrollY >= document.documentElement.scrollHeight - 120;

/** Scrolls to the end, unless the user has scrolled up to read. */
function toEnd(isWanted) {
  if (isWanted) scrollTo(0, document.documentElement.scrollHeight);
}

// Ask

const callbacks = () => ({
  onStart: showStart,
  onProgress,
  onToken,
  onReferences,
  onDone,
  onError,
});

function ask(content) {
  if (content === '' || isBusy || chatId === undefined) return;
  sent = content;
  begin();
  chat.send(chatId, content, { ...callbacks(), ...aboutPage(), edits: editing });
}

function begin() {
  isBusy = true;
  isStopWanted = false;
  hint();
  draw();
}

function retry() {
  begin();
  const question = chat.recover(chatId, callbacks());
  if (question === null) rest();
  else sent = question;
}

function stop() {
  // Before `start` there is no id yet. Then `showStart` stops the reply.
  isStopWanted = true;
  if (replyId) run(chat.stop(replyId));
}

function rest() {
  const isEnd = isAtEnd();
  isBusy = false;
  replyId = undefined;
  draw();
  toEnd(isEnd);
}

/** The page of the question, for the facts in the prompt. */
function aboutPage() {
  const { page, period, area, member } = form;
  if (page.value === 'board-finance') {
    return {
      sourcePage: page.value,
      pageContext: { period: period.value, area: area.value.trim() || 'all' },
    };
  }
  const id = member.value.trim();
  if (page.value === 'customer-detail' && id)
    return { sourcePage: page.value, pageContext: { contextId: id } };
  return {};
}

// The reply

function showStart({ userMessageId, messageId, createdAt, label, edits }) {
  replyId = messageId;
  // The messages may be in the list already, after `recover` and `resume`. A question that is
  // edited, and a reply that is generated again, disappear.
  const from = messages.findIndex(({ id }) => id === userMessageId || id === edits);
  const question = messages.find(({ id }) => id === userMessageId) ?? {
    id: userMessageId,
    role: 'user',
    content: sent,
    createdAt,
    status: 'complete',
  };
  const reply = messages.find(({ id }) => id === messageId) ?? {
    id: messageId,
    role: 'assistant',
    content: '',
    createdAt,
    aiGenerated: true,
  };
  Object.assign(reply, { status: 'streaming', label, html: undefined, isAsked: false });
  messages = [...(from < 0 ? messages : messages.slice(0, from)), question, reply];
  if (form.draft.value.trim() === sent) form.draft.value = '';
  editing = undefined;
  byId('openers').hidden = true;
  draw();
  toEnd(true);
  if (isStopWanted) stop();
}

function changeReply(change) {
  const at = messages.length - 1;
  if (messages[at]?.role !== 'assistant') return;
  const isEnd = isAtEnd();
  Object.assign(messages[at], change);
  drawMessage(messages[at], at);
  toEnd(isEnd);
}

function onProgress({ kind, name }) {
  changeReply({ progress: [texts[kind] ?? texts.node, name].filter(Boolean).join(' ') });
}

function onToken(token, text) {
  changeReply({ content: text });
}

function onReferences(references) {
  changeReply({ references });
}

/** The page that shows an insight. */
function insightUrl({ app, target }) {
  const of = target.type === 'finance' ? target.period : target.type;
  const rest = target.type === 'finance' ? target.area : target.id;
  return `insights?${new URLSearchParams({ app, target: rest === null ? of : `${of}:${rest}` })}`;
}

function onDone({ text, status, label, finishReason, referenceCard }) {
  changeReply({ content: text, status, label, finishReason, referenceCard });
  rest();
  run(loadList());
}

function onError(error) {
  if (error.messageId && error.messageId === replyId) {
    changeReply({ content: error.text, status: error.text ? 'interrupted' : 'failed' });
  }
  rest();
  show(error);
  // Another window may have sent a question. Its reply is shown, and the draft is kept.
  if (error.code === 'busy') {
    const draft = form.draft.value;
    run(
      open(chatId, { title }).then(() => {
        form.draft.value = draft;
        show(error);
      }),
    );
  } else {
    run(loadList());
  }
}

// Judge a reply

const find = (id) => messages.find((message) => message.id === id);

const actions = {
  up: (id) => run(rate(id, 'up')),
  down: (id) => run(rate(id, 'down')),
  report: (id) => run(report(id)),
  again() {
    if (isBusy) return;
    sent = '';
    begin();
    chat.regenerate(chatId, { ...callbacks(), ...aboutPage() });
  },
  edit(id) {
    editing = id;
    form.draft.value = find(id).content;
    form.draft.focus();
    draw();
  },
  async copy(id, button) {
    await navigator.clipboard.writeText(find(id).content);
    const { textContent } = button;
    button.textContent = button.dataset.copied;
    setTimeout(() => Object.assign(button, { textContent }), 1200);
  },
};

async function rate(id, rating) {
  const message = find(id);
  const feedback = { rating };
  if (message.feedback?.rating === rating) {
    feedback.rating = null; // A second click removes the rating.
  } else if (rating === 'down') {
    const answer = await askUser({
      title: texts.bad,
      choices: 4,
      label: texts.comment,
      limit: 2000,
    });
    if (!answer) return;
    feedback.reasons = [answer.choice];
    if (answer.text) feedback.comment = answer.text;
  }
  const stored = await call('PUT', `/chat/messages/${id}/feedback`, feedback);
  message.feedback = stored.rating ? { rating: stored.rating } : null;
  draw();
}

async function report(id) {
  const answer = await askUser({
    title: texts.report,
    choices: 6,
    label: texts.comment,
    limit: 2000,
  });
  if (!answer) return;
  const body = {
    subjectType: 'message',
    subjectId: id,
    reason: answer.choice,
    text: answer.text || undefined,
  };
  // A retry after a lost response would store a second report.
  const { dueAt } = await call('POST', '/reports', body, { isOnce: true });
  await loadReports();
  await askUser({
    title: texts.report,
    note: `${texts.reported} ${timeText(dueAt)}`,
    isQuestion: false,
  });
}

/** Loads the user's newest reports, for the list and for the notes of the messages. */
async function loadReports() {
  const { items } = await call('GET', '/reports');
  const about = items.filter(({ subjectType }) => subjectType === 'message');
  reports = new Map(about.reverse().map((report) => [report.subjectId, report]));
  const place = byId('reports');
  place.hidden = items.length === 0;
  place.querySelector('ul').replaceChildren(
    ...items.map((item) => {
      const row = document.createElement('li');
      const reason = byId('reasons').content.querySelector(`[value="${item.reason}"]`);
      row.textContent = `${timeText(item.createdAt)} · ${reason.textContent} · ${reportText(item)}`;
      return row;
    }),
  );
  draw();
}

const reportText = ({ answer, dueAt }) =>
  answer ? `${texts.answered} ${answer}` : `${texts.answerDue} ${timeText(dueAt)}`;

/** Shows the dialog. Returns a promise of `{ choice, text }`, or of null if the user cancels. */
function askUser({
  title: heading,
  note = '',
  choices = 0,
  label,
  value = '',
  limit = 2000,
  isQuestion = true,
}) {
  const dialog = byId('dialog');
  const { choice, text } = dialog.querySelector('form').elements;
  dialog.querySelector('h2').textContent = heading;
  Object.assign(dialog.querySelector('p'), { textContent: note, hidden: note === '' });
  choice.parentElement.hidden = choices === 0;
  choice.replaceChildren(
    ...[...byId('reasons').content.cloneNode(true).children].slice(0, choices),
  );
  text.parentElement.hidden = label === undefined;
  text.previousElementSibling.textContent = label ?? '';
  Object.assign(text, { value, maxLength: limit });
  dialog.querySelector('button.plain').hidden = !isQuestion;
  dialog.returnValue = '';
  dialog.showModal();
  return new Promise((resolve) => {
    const answer = () =>
      resolve(
        dialog.returnValue === 'ok' ? { choice: choice.value, text: text.value.trim() } : null,
      );
    dialog.addEventListener('close', answer, { once: true });
  });
}

// Errors

/** Shows an error. If the message is kept, the button continues with it. */
function show({ status, code, detail, kept }) {
  if (status === 401) {
    location.assign(`sign-in?next=${encodeURIComponent(`chat${location.search}`)}`);
    return;
  }
  hint(texts[`error:${code}`] ?? (detail || code), kept === true);
}

function hint(text = '', canRetry = false) {
  const place = byId('hint');
  const isEnd = isAtEnd();
  place.hidden = text === '';
  place.firstElementChild.textContent = text;
  place.lastElementChild.hidden = !canRetry;
  toEnd(isEnd);
}

/** Shows the error of a promise. */
const run = (promise) =>
  promise.catch((error) => {
    if (error instanceof Error) throw error;
    show(error);
  });

// Events

byId('new').addEventListener('click', () => {
  if (messages.length === 0 && chatId !== undefined && !botId) form.draft.focus();
  else run(start());
});
byId('more').addEventListener('click', () => run(loadList(list.cursor)));
byId('older').addEventListener('click', () => run(loadOlder()));
byId('stop').addEventListener('click', stop);
byId('hint').lastElementChild.addEventListener('click', retry);
byId('editing').lastElementChild.addEventListener('click', () => {
  editing = undefined;
  form.draft.value = '';
  draw();
});
byId('actions').addEventListener('click', ({ target }) => {
  const change = changes[target.dataset.do];
  if (change) run(change().then(() => loadList()));
});
byId('search').addEventListener('submit', (event) => {
  event.preventDefault();
  list.q = event.target.elements.q.value.trim();
  run(loadList());
});
byId('search').addEventListener('input', ({ target }) => {
  if (target.value !== '' || list.q === '') return;
  list.q = '';
  run(loadList());
});
byId('composer').addEventListener('submit', (event) => {
  event.preventDefault();
  ask(form.draft.value.trim());
});
form.draft.addEventListener('keydown', (event) => {
  // An input method uses Enter to choose a word.
  if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  ask(form.draft.value.trim());
});
form.page.addEventListener('change', () => {
  for (const label of document.querySelectorAll('[data-of]'))
    label.hidden = label.dataset.of !== form.page.value;
  if (chatId !== undefined && messages.length === 0) run(showOpeners());
});
byId('scenarios')?.addEventListener('click', ({ target }) => {
  const { scenario } = target.dataset;
  if (!scenario) return;
  form.draft.value = `[[sim:${scenario}]]${form.draft.value.replace(/\[\[sim:[^\]]*\]\]/g, '')}`;
  form.draft.focus();
});
// The browser may keep the page without its connections, to show it again.
addEventListener('pagehide', () => chat.sleep());
addEventListener('pageshow', () => chat.wake());

chat = connect();
const wanted = Number(new URLSearchParams(location.search).get('chat'));
const first = wanted > 0 ? open(wanted).catch(openCurrent) : openCurrent();
run(first);
run(loadList());
run(showBots());
run(loadReports());
