// Texts for people, made from values of the API.

const two = (number) => `0${number}`.slice(-2);

/** A time of today as `09:05`, another one as `3月7日 09:05`, in the phone's time zone. */
function timeText(iso, now = new Date()) {
  if (!iso) return '';
  const time = new Date(iso);
  const clock = `${two(time.getHours())}:${two(time.getMinutes())}`;
  if (time.toDateString() === now.toDateString()) return clock;
  const year = time.getFullYear() === now.getFullYear() ? '' : `${time.getFullYear()}年`;
  return `${year}${time.getMonth() + 1}月${time.getDate()}日 ${clock}`;
}

/** A number of tokens with separators: `12,345`. */
const countText = (count) => String(count).replace(/\B(?=(\d{3})+$)/g, ',');

const PAGES = {
  'board-finance': '财务看板',
  'board-customer': '会员看板',
  'board-coach': '教练看板',
  'task-detail': '任务详情',
  'customer-detail': '会员详情',
  'coach-detail': '教练详情',
  performance: '我的业绩',
};

const PERIODS = [
  { id: 'today', name: '今天' },
  { id: 'yesterday', name: '昨天' },
  { id: 'this_week', name: '本周' },
  { id: 'last_week', name: '上周' },
  { id: 'this_month', name: '本月' },
  { id: 'last_month', name: '上月' },
  { id: 'last_3_months', name: '近三个月' },
  { id: 'last_6_months', name: '近六个月' },
];

/** The page of a question and its filters: `财务看板 · 本月 · 大厅`. */
function pageText(sourcePage, { period, area, contextId } = {}) {
  const { name } = PERIODS.find(({ id }) => id === period) || {};
  const areaName = area === 'all' ? '全部区域' : area;
  return [PAGES[sourcePage] || sourcePage, contextId, name, areaName].filter(Boolean).join(' · ');
}

/** The members of a result that are lists, and which members of an entry are title and body. */
const LISTS = [
  ['insights', 'title', 'body'],
  ['clues', 'summary', 'detail'],
  ['strategies', 'title', 'content'],
  ['tactics', 'scenario', 'script'],
];

/** The result of an app as `[{ tag, title, body }]`. Members of other names are left out. */
function sectionsOf(result) {
  const entry = (title, body, tag = '') => ({ tag, title: title || '', body: body || '' });
  const { summary, one_line_summary: line, task_description: task, score } = result;
  const sections = [];
  if (summary || line) sections.push(entry(summary || line));
  if (score) sections.push(entry(`评分 ${score} / 10`));
  if (task) sections.push(entry('任务', task));
  (result.action_suggestions || []).forEach((text, at) => {
    sections.push(entry(`建议 ${at + 1}`, text));
  });
  LISTS.forEach(([list, title, body]) => {
    (result[list] || []).forEach((item) => {
      sections.push(entry(item[title], item[body], item.category));
    });
  });
  return sections;
}

/** An insight as the template `insight` shows it. */
function insightView(insight) {
  const { id, app, title, state, stale, result, detail, feedback } = insight;
  return {
    id,
    app,
    state,
    stale: stale === true,
    // Only an older server sends no title.
    title: title || app,
    sections: result ? sectionsOf(result) : [],
    detail: detail || '',
    generatedAt: insight.generatedAt,
    generatedText: timeText(insight.generatedAt),
    aiGenerated: insight.aiGenerated === true,
    rating: (feedback && feedback.rating) || '',
  };
}

const RATING_REASONS = [
  { id: 'inaccurate', name: '不准确' },
  { id: 'unhelpful', name: '没有帮助' },
  { id: 'unsafe', name: '内容不当' },
  { id: 'other', name: '其他' },
];

const REPORT_REASONS = [
  { id: 'inaccurate', name: '内容不准确' },
  { id: 'unhelpful', name: '没有帮助' },
  { id: 'unsafe', name: '内容不当' },
  { id: 'illegal', name: '违法违规' },
  { id: 'privacy', name: '侵犯隐私' },
  { id: 'other', name: '其他' },
];

const nameOf = (list, id) => (list.find((item) => item.id === id) || { name: id }).name;

module.exports = {
  timeText, countText, pageText, insightView, nameOf, PERIODS, RATING_REASONS, REPORT_REASONS,
};
