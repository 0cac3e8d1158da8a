// Connects a page to Parlor.

const { createApi } = require('./api');
const { createChat } = require('./chat');

/** Returns the chat and the API for the address and the token in `app.globalData.parlor`. */
function connect() {
  const { parlor } = getApp().globalData;
  const chat = createChat({ baseUrl: parlor.baseUrl, token: () => parlor.token });
  return { chat, api: createApi(chat.call) };
}

/**
 * Shows the site's label for AI-generated text on a page. The page starts with `LABEL`, and keeps
 * it if the label cannot be loaded.
 */
function showLabel(page, api) {
  const { globalData } = getApp();
  if (!globalData.label) globalData.label = api.notice().then(({ label }) => label);
  return globalData.label.then(
    (label) => page.setData({ label }),
    () => {
      globalData.label = undefined; // The next page tries again.
    },
  );
}

/** The default of the server. */
const LABEL = '内容由 AI 生成，仅供参考';

module.exports = { connect, showLabel, LABEL };
