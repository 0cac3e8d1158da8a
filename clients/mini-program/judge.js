// Thumbs and reports, for messages and insights.

const { RATING_REASONS, REPORT_REASONS, timeText } = require('./text');

/** Asks for one of at most 6 entries. Returns a promise of its id, or of null if cancelled. */
function choose(entries) {
  return wx.showActionSheet({ itemList: entries.map(({ name }) => name) })
    .then(({ tapIndex }) => entries[tapIndex].id, () => null);
}

/** Asks for a text. Returns a promise of it, or of null if cancelled. */
function askText(title, placeholderText, content = '') {
  return wx.showModal({ title, content, placeholderText, editable: true })
    .then((answer) => (answer.confirm ? (answer.content || '').trim() : null));
}

/**
 * Asks for the reason of a thumb down. Returns a promise of the feedback for the thumb that was
 * touched. A second touch of the same thumb removes the rating.
 */
function feedbackFor(touched, current) {
  if (touched === current) return Promise.resolve({ rating: null });
  if (touched === 'up') return Promise.resolve({ rating: 'up' });
  return choose(RATING_REASONS)
    .then((reason) => (reason ? { rating: 'down', reasons: [reason] } : { rating: 'down' }));
}

/** Asks for reason and text, and sends a report. Does nothing if the user cancels. */
function reportTo(api, subjectType, subjectId) {
  return choose(REPORT_REASONS).then((reason) => {
    if (!reason) return undefined;
    return askText('补充说明', '可以不填').then((text) => {
      if (text === null) return undefined;
      return api.report({ subjectType, subjectId, reason, text: text || undefined })
        .then(({ dueAt }) => wx.showModal({
          title: '投诉已提交',
          content: `我们会在 ${timeText(dueAt)} 前答复，可在“AI 说明”页查看。`,
          showCancel: false,
        }));
    });
  });
}

module.exports = { choose, askText, feedbackFor, reportTo };
