// What the two pages with insights share. A page adds `query()`, the parameters of its request, and
// calls `begin` when it knows them.

const { connect, showLabel, LABEL } = require('./connect');
const { feedbackFor, reportTo } = require('./judge');
const { insightView } = require('./text');

const POLL_MS = 3000;
const MAX_POLLS = 60; // In a row, so 3 minutes. A job may wait longer, for a budget for example.

const insightsPage = {
  data: {
    items: [],
    hint: '',
    isLoading: false,
    isEmpty: false, // The server has no insights for this page and this user.
    isWaiting: false, // A refresh was asked for.
    label: LABEL,
  },

  begin() {
    if (!this.api) {
      this.api = connect().api;
      showLabel(this, this.api);
    }
    this.polls = 0;
    this.setData({ items: [], isEmpty: false, isWaiting: false });
    return this.load();
  },

  load() {
    clearTimeout(this.timer);
    const query = this.query();
    this.setData({ isLoading: true, hint: '' });
    return this.api.insights(query).then(({ items }) => {
      if (!isSame(query, this.query())) return; // The user has chosen other filters meanwhile.
      this.setData({ items: items.map(insightView), isEmpty: items.length === 0, isLoading: false });
      this.pollWhileGenerating();
    }, (error) => this.show(error));
  },

  pollWhileGenerating() {
    const { items, isWaiting } = this.data;
    const isGenerating = items.some(({ state }) => state === 'generating');
    const isOpen = isGenerating || (isWaiting && mayChange(this.wanted, items));
    if (isOpen && !this.isHidden && this.polls < MAX_POLLS) {
      this.polls += 1;
      this.timer = setTimeout(() => this.load(), POLL_MS);
    } else if (!isOpen || this.polls >= MAX_POLLS) {
      this.setData({ isWaiting: false });
    }
  },

  /** Generates what is missing or expired. */
  refresh() {
    return this.request(this.query());
  },

  /** Generates everything again. Only managers may do this. */
  regenerate() {
    return this.request({ ...this.query(), force: true });
  },

  request(query) {
    this.setData({ hint: '' });
    this.wanted = this.data.items.filter(({ state, stale }) =>
      state !== 'disabled' && (query.force || stale || state !== 'ready'));
    return this.api.refreshInsights(query).then(({ jobId }) => {
      this.polls = 0;
      this.setData({ isWaiting: jobId !== null });
      return this.load();
    }, (error) => this.show(error));
  },

  onShow() {
    if (!this.isHidden) return undefined;
    this.isHidden = false;
    return this.api && this.load();
  },

  onHide() {
    this.isHidden = true;
    clearTimeout(this.timer);
  },

  onUnload() {
    this.onHide();
  },

  onPullDownRefresh() {
    return this.load().then(() => wx.stopPullDownRefresh());
  },

  rate({ currentTarget }) {
    const { id, rating } = currentTarget.dataset;
    const current = this.data.items.find((item) => item.id === id).rating;
    return feedbackFor(rating, current)
      .then((chosen) => this.api.rateInsight(id, chosen))
      .then((stored) => {
        const at = this.data.items.findIndex((item) => item.id === id);
        if (at >= 0) this.setData({ [`items[${at}].rating`]: stored.rating || '' });
      })
      .catch((error) => this.show(error));
  },

  report({ currentTarget }) {
    return reportTo(this.api, 'insight', currentTarget.dataset.id)
      .catch((error) => this.show(error));
  },

  show({ detail }) {
    this.setData({ hint: detail, isLoading: false });
  },
};

/**
 * True if a job may still change one of these insights. They are not `generating` before the job
 * begins, nor between its steps. It ends at the first step that fails.
 */
function mayChange(wanted, items) {
  const now = ({ app }) => items.find((item) => item.app === app) || {};
  const changed = wanted.filter((item) =>
    now(item).state !== item.state || now(item).generatedAt !== item.generatedAt);
  const hasFailed = changed.some((item) => now(item).state === 'failed');
  return !hasFailed && changed.length < wanted.length;
}

const isSame = (one, other) => JSON.stringify(one) === JSON.stringify(other);

module.exports = { insightsPage };
