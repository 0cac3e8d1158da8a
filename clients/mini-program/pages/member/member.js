// Insights into a member. May be opened with `memberId`.

const { insightsPage } = require('../../insights');
const { decoded, openPage } = require('../../query');

Page({
  ...insightsPage,

  data: { ...insightsPage.data, memberId: '' },

  onLoad(options) {
    const { memberId = '' } = decoded(options);
    this.setData({ memberId });
    return memberId ? this.begin() : undefined;
  },

  query() {
    return { sourcePage: 'customer-detail', contextId: Number(this.data.memberId) };
  },

  choose({ detail }) {
    const memberId = detail.value.trim();
    this.setData({ memberId, items: [] });
    return memberId ? this.begin() : undefined;
  },

  ask() {
    const { memberId } = this.data;
    openPage('chat', {
      contextType: 'customer',
      contextId: memberId,
      title: `会员 ${memberId}`,
      sourcePage: 'customer-detail',
      pageContext: JSON.stringify({ contextId: memberId }),
    });
  },
});
