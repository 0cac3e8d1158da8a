// The routes that are not streams. `call` is that of `createChat`: it retries, and rejects with
// `{ status, code, detail, … }`. All functions return promises of the response's JSON.

const { queryOf } = require('./query');

function createApi(call) {
  const at = (path) => `/api/xcx${path}`;
  const get = (path, query) => call('GET', at(path) + queryOf(query));
  const put = (path, body) => call('PUT', at(path), { body });

  return {
    // Conversations

    /** `query`: `cursor`. Pinned conversations come first, then those with the newest activity. */
    history: (query) => get('/chat/history', query),

    /** The newest messages first. `query`: `cursor`. */
    messages: (chatId, query) =>
      get(`/chat/${chatId}/messages`, { order: 'desc', page_size: 50, ...query }),

    /**
     * `change`: `title` (1–100 characters), `pinned`. Returns the changed conversation. `PUT` is
     * the same as `PATCH`, which `wx.request` lacks.
     */
    change: (chatId, change) => put(`/chat/${chatId}`, change),

    /** Deletes a conversation and its messages. */
    remove: (chatId) =>
      call('DELETE', at(`/chat/${chatId}`)).catch((error) => {
        // The response to the previous attempt was lost: the conversation is deleted already.
        if (error.status !== 404) throw error;
      }),

    /** `query`: `q` (1–64 characters), `cursor`. A page may be empty and have a `nextCursor`. */
    search: (query) => get('/chat/search', query),

    bots: () => get('/chat/bots'),

    /** Questions to begin with. `query`: `sourcePage`, `botId`. */
    openers: (query) => get('/chat/openers', query),

    /** All conversations of the caller as text, one JSON object per line. */
    exportChats: () => call('GET', at('/chat/export'), { isText: true }),

    // Feedback and reports

    /** `feedback`: `rating` (`up`, `down`, or null to remove it), `reasons`, `comment`. */
    rateMessage: (messageId, feedback) => put(`/chat/messages/${messageId}/feedback`, feedback),
    rateInsight: (insightId, feedback) => put(`/insights/${insightId}/feedback`, feedback),

    /**
     * `report`: `subjectType` (`message`, `insight`), `subjectId`, `reason`, `text`. It is sent
     * once: a retry after a lost response would store a second report.
     */
    report: (report) => call('POST', at('/reports'), { body: report, isOnce: true }),

    /** The caller's own reports. `query`: `cursor`. */
    reports: (query) => get('/reports', query),

    // Insights

    /** `query`: `sourcePage` and the page's filters, or `app` and its target. */
    insights: (query) => get('/insights', query),

    /** The same members. `force` replaces valid results, too. */
    refreshInsights: (query) => call('POST', at('/insights/refresh'), { body: query }),

    /** The last 10 results of the same target. */
    insightHistory: (insightId) => get(`/insights/${insightId}/history`),

    // Notice and usage

    notice: () => get('/ai-notice'),
    usage: () => get('/usage'),
  };
}

module.exports = { createApi };
