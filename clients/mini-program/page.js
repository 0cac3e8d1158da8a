// A chat about a task. `app.globalData.parlor` has the address of Parlor and the current token.

const { createChat } = require('./chat');

Page({
  data: { messages: [], draft: '', busy: false, hint: '', canRetry: false },

  onLoad({ contextId }) {
    const { parlor } = getApp().globalData;
    this.chat = createChat({ baseUrl: parlor.baseUrl, token: () => parlor.token });
    return this.chat.open('task', contextId).then(({ chatId, items }) => {
      this.chatId = chatId;
      this.setData({ messages: items });
      const newest = items[items.length - 1];
      // First look for a message without a known answer, then for a reply in progress.
      if (this.chat.recover(chatId, this.callbacks())) this.setData({ busy: true });
      else if (newest && newest.status === 'streaming') this.readOn(newest);
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

  onInput({ detail }) {
    this.setData({ draft: detail.value });
  },

  send() {
    const content = this.data.draft.trim();
    if (content === '' || this.data.busy || !this.chatId) return;
    this.setData({ busy: true, hint: '', canRetry: false });
    this.sent = content;
    this.stopWanted = false;
    this.chat.send(this.chatId, content, this.callbacks());
  },

  retry() {
    this.setData({ busy: true, hint: '', canRetry: false });
    this.stopWanted = false;
    if (!this.chat.recover(this.chatId, this.callbacks())) this.setData({ busy: false });
  },

  stop() {
    // Before `start` there is no id yet. Then `onStart` stops the reply.
    this.stopWanted = true;
    if (this.replyId) this.chat.stop(this.replyId).catch((error) => this.show(error));
  },

  readOn(reply) {
    this.setData({ busy: true });
    this.chat.resume(reply.id, { ...this.callbacks(), text: reply.content });
  },

  callbacks() {
    return {
      onStart: ({ userMessageId, messageId, createdAt }) => {
        this.replyId = messageId;
        // After `recover` and `resume`, both messages may be in the list already.
        const { messages } = this.data;
        const others = messages.filter(({ id }) => id !== userMessageId && id !== messageId);
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
        };
        this.setData({ messages: [...others, question, reply], draft: '' });
        if (this.stopWanted) this.stop();
      },
      onToken: (token, text) => this.setReply({ content: text }),
      onDone: ({ text, status }) => {
        this.setReply({ content: text, status });
        this.rest();
      },
      onError: (error) => {
        if (error.messageId && error.messageId === this.replyId) {
          this.setReply({ content: error.text, status: error.text ? 'interrupted' : 'failed' });
        }
        this.rest();
        this.show(error);
      },
    };
  },

  setReply(change) {
    const last = this.data.messages.length - 1;
    const path = `messages[${last}]`;
    Object.keys(change).forEach((name) => this.setData({ [`${path}.${name}`]: change[name] }));
  },

  rest() {
    this.replyId = undefined;
    this.setData({ busy: false });
  },

  /**
   * Shows an error. If the message is kept, `retry` continues with it. If not, the draft is still
   * in the input field.
   */
  show({ detail, kept }) {
    this.setData({ hint: detail, canRetry: kept === true });
  },
});
