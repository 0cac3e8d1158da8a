// A chat about a task. `app.globalData` has the address of Parlor and the token of the moment.

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
      // A message of which nobody knows whether it arrived; else a reply that is still being made.
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
    // Until `start` there is nothing to stop by name.
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
        // What is kept when the app is closed may be in the list already.
        const known = this.data.messages.find((message) => message.id === userMessageId);
        const question = known || { id: userMessageId, role: 'user', content: this.sent || '', createdAt, status: 'complete' };
        const shown = this.data.messages.find((message) => message.id === messageId);
        const reply = shown || { id: messageId, role: 'assistant', content: '', createdAt, status: 'streaming' };
        const others = this.data.messages.filter((message) => message.id !== userMessageId && message.id !== messageId);
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

  /** Shows what went wrong. Where the message is kept, `retry` goes on with it; else the draft is still there to be sent. */
  show({ detail, kept }) {
    this.setData({ hint: detail, canRetry: kept === true });
  },
});
