// The caller's conversations: list, search, rename, pin, delete. Starts new ones.

const { connect } = require('../../connect');
const { askText, choose } = require('../../judge');
const { openPage } = require('../../query');
const { timeText } = require('../../text');

Page({
  data: { items: [], found: null, q: '', bots: [], cursor: null, hint: '', isLoading: true },

  onLoad() {
    this.api = connect().api;
    return this.api.bots().then(
      ({ items }) => this.setData({ bots: items.filter(({ status }) => status === 'active') }),
      () => {}, // The list works without them.
    );
  },

  /** Also after a conversation, which changes the order. */
  onShow() {
    return this.reload();
  },

  onPullDownRefresh() {
    return this.reload().then(() => wx.stopPullDownRefresh());
  },

  onReachBottom() {
    if (!this.data.cursor || this.data.isLoading) return undefined;
    return this.load(this.data.cursor);
  },

  reload() {
    return this.load(undefined);
  },

  /** Loads a page of the list, or of the search if there is one. */
  load(cursor) {
    const { q } = this.data;
    this.loads = (this.loads || 0) + 1;
    const load = this.loads;
    this.setData({ isLoading: true, hint: '' });
    const loading = q ? this.api.search({ q, cursor }) : this.api.history({ cursor });
    return loading.then(({ items, nextCursor }) => {
      if (load !== this.loads) return; // A newer one has begun.
      const list = q ? 'found' : 'items';
      const previous = cursor ? this.data[list] : [];
      this.setData({
        [list]: [...previous, ...items.map(view)],
        cursor: nextCursor,
        isLoading: false,
      });
    }, ({ detail }) => this.setData({ hint: detail, isLoading: false }));
  },

  search({ detail }) {
    const q = detail.value.trim();
    this.setData({ q, found: q ? [] : null, cursor: null });
    return this.reload();
  },

  open({ currentTarget }) {
    const { id, title } = currentTarget.dataset;
    openPage('chat', { chatId: id, title });
  },

  start() {
    openPage('chat', { contextType: 'general' });
  },

  startWithBot({ currentTarget }) {
    const { id, name } = currentTarget.dataset;
    openPage('chat', { contextType: 'bot', contextId: id, title: name });
  },

  openPage({ currentTarget }) {
    openPage(currentTarget.dataset.page);
  },

  more({ currentTarget }) {
    const { id } = currentTarget.dataset;
    const { title, pinned } = this.data.items.find((item) => item.id === id);
    return choose([
      { id: 'pin', name: pinned ? '取消置顶' : '置顶' },
      { id: 'rename', name: '重命名' },
      { id: 'remove', name: '删除' },
    ]).then((chosen) => {
      if (chosen === 'pin') return this.api.change(id, { pinned: !pinned });
      if (chosen === 'rename') return this.rename(id, title);
      if (chosen === 'remove') return this.remove(id);
      return undefined;
    }).then(() => this.reload(), ({ detail }) => this.setData({ hint: detail }));
  },

  rename(id, title) {
    return askText('重命名', '1–100 个字', title)
      .then((text) => (text ? this.api.change(id, { title: text }) : undefined));
  },

  remove(id) {
    return wx.showModal({ title: '删除对话', content: '消息会一并删除，无法恢复。' })
      .then(({ confirm }) => (confirm ? this.api.remove(id) : undefined));
  },
});

function view(item) {
  return { ...item, timeText: timeText(item.lastMessageAt || item.createdAt) };
}
