// The pages read the address of Parlor and the current token from `globalData.parlor`. Replace the
// token there after a login.

const { areas, baseUrl, token } = require('./config');

App({
  globalData: { areas, parlor: { baseUrl, token } },
});
