// Insights into the finance of the site, by period and area. May be opened with both.

const { insightsPage } = require('../../insights');
const { decoded, openPage } = require('../../query');
const { PERIODS } = require('../../text');

const ALL = { id: 'all', name: '全部区域' };

Page({
  ...insightsPage,

  data: { ...insightsPage.data, periods: PERIODS, period: 0, areas: [ALL], area: 0 },

  onLoad(options) {
    const { period = 'this_month', area = 'all' } = decoded(options);
    const names = getApp().globalData.areas || [];
    const areas = [ALL, ...names.map((name) => ({ id: name, name }))];
    if (!areas.some(({ id }) => id === area)) areas.push({ id: area, name: area });
    this.setData({
      areas,
      period: Math.max(0, PERIODS.findIndex(({ id }) => id === period)),
      area: areas.findIndex(({ id }) => id === area),
    });
    return this.begin();
  },

  filters() {
    const { periods, period, areas, area } = this.data;
    return { period: periods[period].id, area: areas[area].id };
  },

  query() {
    return { sourcePage: 'board-finance', ...this.filters() };
  },

  choosePeriod({ detail }) {
    this.setData({ period: Number(detail.value) });
    return this.begin();
  },

  chooseArea({ detail }) {
    this.setData({ area: Number(detail.value) });
    return this.begin();
  },

  ask() {
    openPage('chat', {
      contextType: 'board',
      sourcePage: 'board-finance',
      pageContext: JSON.stringify(this.filters()),
    });
  },
});
