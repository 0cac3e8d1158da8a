// A conversation. Opened with `chatId`, or with `contextType` and `contextId`. Both may come with
// `title`, `sourcePage` and `pageContext` (JSON): the page that the questions are about.

const { connect, showLabel, LABEL } = require('../../connect');
const { feedbackFor, reportTo } = require('../../judge');
const { decoded, openPage } = require('../../query');
const { pageText } = require('../../text');

Page({
  data: {
    messages: [],
    draft: '',
    busy: false,
    progress: '', // What the application does before it writes.
    hint: '',
    canRetry: false,
    label: LABEL,
    page: '',
    openers: [],
    editing: null, // The id of the question that the draft replaces.
    cursor: null, // Of older messages.
    scrollTop: 0,
    anchor: '',
  },

  onLoad(options) {
    const { chatId, contextType, contextId, title, sourcePage, pageContext } = decoded(options);
    const { chat, api } = connect();
    Object.assign(this, { chat, api, botId: contextType === 'bot' ? contextId : undefined });
    if (title) wx.setNavigationBarTitle({ title });
    if (sourcePage) {
      this.about = { sourcePage, pageContext: JSON.parse(pageContext || '{}') };
      this.setData({ page: pageText(sourcePage, this.about.pageContext) });
    }
    showLabel(this, api);
    return this.open(chatId, contextType, contextId);
  },

  open(chatId, contextType = 'general', contextId = '') {
    const opened = chatId ? this.newest(chatId) : this.chat.open(contextType, contextId);
    return opened.then((conversation) => {
      this.chatId = conversation.chatId;
      this.setData({ messages: conversation.items, cursor: conversation.nextCursor });
      this.toEnd();
      const newest = conversation.items[conversation.items.length - 1];
      // First look for a message without a known answer, then for a reply in progress.
      this.sent = this.chat.recover(this.chatId, this.callbacks());
      if (this.sent !== null) this.setData({ busy: true });
      else if (newest && newest.status === 'streaming') this.readOn(newest);
      else if (!newest) this.showOpeners();
    }, (error) => this.show(error));
  },

  onShow() {
    if (this.chat) this.chat.wake();
  },

  onHide() {
    this.chat.sleep();
  },

  onUnload() {
    this.chat.sleep();
  },

  // Messages

  newest(chatId) {
    return this.api.messages(chatId)
      .then((page) => ({ ...page, items: page.items.reverse() }));
  },

  older() {
    const { cursor } = this.data;
    if (!cursor || this.isLoading) return undefined;
    this.isLoading = true;
    return this.api.messages(this.chatId, { cursor })
      .then(({ items, nextCursor }) => {
        const { messages } = this.data;
        this.setData({
          messages: [...items.reverse(), ...messages],
          cursor: nextCursor,
          anchor: `m${messages[0].id}`, // What the user was reading stays in view.
        });
      }, (error) => this.show(error))
      .then(() => {
        this.isLoading = false;
      });
  },

  showOpeners() {
    const { sourcePage } = this.about || {};
    return this.api.openers({ sourcePage, botId: this.botId }).then(
      ({ items }) => this.setData({ openers: items }),
      () => {}, // The conversation works without them.
    );
  },

  /** Scrolls to the end, unless the user has scrolled up to read. */
  toEnd() {
    if (this.isReading) return;
    this.setData({ scrollTop: this.data.scrollTop + 100000 });
  },

  onDrag() {
    this.isReading = true;
  },

  onEnd() {
    this.isReading = false;
  },

  // Ask

  onInput({ detail }) {
    this.setData({ draft: detail.value });
  },

  send() {
    const content = this.data.draft.trim();
    if (content === '' || this.data.busy || !this.chatId) return;
    this.begin();
    this.sent = content;
    const edits = this.data.editing || undefined;
    this.chat.send(this.chatId, content, { ...this.callbacks(), ...this.about, edits });
  },

  retry() {
    this.begin();
    this.sent = this.chat.recover(this.chatId, this.callbacks());
    if (this.sent === null) this.setData({ busy: false });
  },

  stop() {
    // Before `start` there is no id yet. Then `onStart` stops the reply.
    this.stopWanted = true;
    if (this.replyId) this.chat.stop(this.replyId).catch((error) => this.show(error));
  },

  regenerate() {
    if (this.data.busy) return;
    this.begin();
    this.sent = '';
    this.chat.regenerate(this.chatId, { ...this.callbacks(), ...this.about });
  },

  readOn(reply) {
    this.setData({ busy: true });
    this.chat.resume(reply.id, { ...this.callbacks(), text: reply.content });
  },

  begin() {
    this.stopWanted = false;
    this.isReading = false;
    this.setData({ busy: true, hint: '', canRetry: false });
  },

  askOpener({ currentTarget }) {
    this.setData({ draft: currentTarget.dataset.text });
    this.send();
  },

  edit({ currentTarget }) {
    const { id } = currentTarget.dataset;
    const { content } = this.data.messages.find((message) => message.id === id);
    this.setData({ editing: id, draft: content });
  },

  cancelEdit() {
    this.setData({ editing: null, draft: '' });
  },

  /** The next questions are not about a page. */
  dropPage() {
    this.about = undefined;
    this.setData({ page: '' });
  },

  // The reply

  callbacks() {
    return {
      onStart: (start) => this.showStart(start),
      onProgress: ({ kind, name }) => this.setData({ progress: progressText(kind, name) }),
      onReferences: (references) => this.setReply({ references }),
      onToken: (token, text) => {
        if (this.data.progress) this.setData({ progress: '' });
        this.setReply({ content: text });
        this.toEnd();
      },
      onDone: ({ text, status, label, finishReason, referenceCard = null }) => {
        if (label) this.setData({ label });
        this.setReply({ content: text, status, finishReason, referenceCard });
        this.rest();
      },
      onError: (error) => {
        if (error.messageId && error.messageId === this.replyId) {
          this.setReply({ content: error.text, status: error.text ? 'interrupted' : 'failed' });
        }
        this.rest();
        this.show(error);
        // Another phone may have sent a question. Its reply is shown, and the draft is kept.
        if (error.code === 'busy') this.open(this.chatId);
      },
    };
  },

  showStart({ userMessageId, messageId, createdAt, label, edits }) {
    this.replyId = messageId;
    // The messages may be in the list already, after `recover` and `resume`. A question that is
    // edited, and a reply that is generated again, disappear.
    const { messages } = this.data;
    const from = messages.findIndex(({ id }) => id === userMessageId || id === edits);
    const question = messages.find(({ id }) => id === userMessageId) || {
      id: userMessageId,
      role: 'user',
      content: this.sent || '',
      createdAt,
      status: 'complete',
    };
    const reply = messages.find(({ id }) => id === messageId) || {
      id: messageId,
      role: 'assistant',
      content: '',
      createdAt,
      status: 'streaming',
      aiGenerated: true,
    };
    const previous = from < 0 ? messages : messages.slice(0, from);
    this.setData({
      messages: [...previous, question, reply],
      draft: this.data.draft.trim() === this.sent ? '' : this.data.draft,
      editing: null,
      openers: [],
      label: label || this.data.label,
    });
    this.toEnd();
    if (this.stopWanted) this.stop();
  },

  setReply(change) {
    const last = this.data.messages.length - 1;
    const path = `messages[${last}]`;
    Object.keys(change).forEach((name) => {
      if (change[name] !== undefined) this.setData({ [`${path}.${name}`]: change[name] });
    });
  },

  rest() {
    this.replyId = undefined;
    this.setData({ busy: false, progress: '' });
    this.toEnd();
  },

  // Judge a reply

  rate({ currentTarget }) {
    const { id, rating } = currentTarget.dataset;
    const { feedback } = this.data.messages.find((message) => message.id === id);
    return feedbackFor(rating, feedback && feedback.rating)
      .then((chosen) => this.api.rateMessage(id, chosen))
      .then((stored) => {
        const at = this.data.messages.findIndex((message) => message.id === id);
        if (at >= 0) this.setData({ [`messages[${at}].feedback`]: { rating: stored.rating } });
      })
      .catch((error) => this.show(error));
  },

  report({ currentTarget }) {
    return reportTo(this.api, 'message', currentTarget.dataset.id)
      .catch((error) => this.show(error));
  },

  copy({ currentTarget }) {
    wx.setClipboardData({ data: currentTarget.dataset.text });
  },

  /** Opens the insight that the reply refers to. */
  openCard({ currentTarget }) {
    const { target = {} } = currentTarget.dataset.card.data || {};
    if (target.type === 'member') openPage('member', { memberId: target.id });
    if (target.type === 'finance') {
      openPage('finance', { period: target.period, area: target.area });
    }
  },

  openNotice() {
    openPage('notice');
  },

  /**
   * Shows an error. If the message is kept, `retry` continues with it. If not, the draft is still
   * in the input field.
   */
  show({ detail, kept }) {
    this.setData({ hint: detail, canRetry: kept === true });
  },
});

function progressText(kind, name) {
  if (kind === 'thinking') return '正在思考';
  const texts = { retrieval: '正在检索', tool: '正在调用', node: '正在处理' };
  return [texts[kind] || '正在处理', name].filter(Boolean).join('：');
}
