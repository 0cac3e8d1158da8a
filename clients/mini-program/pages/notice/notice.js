// What the operator must publish about the AI, the caller's usage, reports and data.

const { connect } = require('../../connect');
const { countText, nameOf, timeText, REPORT_REASONS } = require('../../text');

Page({
  data: { notice: null, usage: [], reports: [], cursor: null, hint: '' },

  onLoad() {
    this.api = connect().api;
    return this.load();
  },

  /** The three parts load independently, so that one error does not hide the others. */
  load() {
    this.setData({ hint: '' });
    const show = ({ detail }) => this.setData({ hint: detail });
    return Promise.all([
      this.api.notice().then((notice) => this.setData({ notice })).catch(show),
      this.api.usage().then(({ day, month }) => {
        this.setData({ usage: [usageView('今天', day), usageView('本月', month)] });
      }).catch(show),
      this.loadReports(undefined).catch(show),
    ]);
  },

  loadReports(cursor) {
    return this.api.reports({ cursor }).then(({ items, nextCursor }) => {
      const previous = cursor ? this.data.reports : [];
      this.setData({ reports: [...previous, ...items.map(reportView)], cursor: nextCursor });
    });
  },

  moreReports() {
    return this.loadReports(this.data.cursor)
      .catch(({ detail }) => this.setData({ hint: detail }));
  },

  call() {
    wx.makePhoneCall({ phoneNumber: this.data.notice.complaint.phone }).catch(() => {});
  },

  copy({ currentTarget }) {
    wx.setClipboardData({ data: currentTarget.dataset.text });
  },

  /** Saves all conversations to a file, which the user can send to a chat of WeChat. */
  exportChats() {
    const filePath = `${wx.env.USER_DATA_PATH}/conversations.jsonl`;
    return this.api.exportChats()
      .then((text) => {
        wx.getFileSystemManager().writeFileSync(filePath, text, 'utf8');
        return wx.shareFileMessage({ filePath }).catch(() => {}); // The user may cancel.
      }, ({ detail }) => this.setData({ hint: detail }));
  },
});

function usageView(name, { tokens, limit }) {
  const text = limit === null ? '' : ` / ${countText(limit)}`;
  return { name, text: `${countText(tokens)}${text} tokens` };
}

function reportView(report) {
  return {
    ...report,
    reasonText: nameOf(REPORT_REASONS, report.reason),
    createdText: timeText(report.createdAt),
    dueText: timeText(report.dueAt),
    isOpen: report.state === 'open',
  };
}
