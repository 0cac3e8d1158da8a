// Query strings of requests and of pages.

/** Returns `?name=value&…`, without members that are undefined, null or empty, or ''. */
function queryOf(members) {
  const pairs = Object.keys(members || {})
    .filter((name) => members[name] !== undefined && members[name] !== null && members[name] !== '')
    .map((name) => `${name}=${encodeURIComponent(members[name])}`);
  return pairs.length === 0 ? '' : `?${pairs.join('&')}`;
}

/** Opens a page of this mini-program. */
function openPage(name, members) {
  wx.navigateTo({ url: `/pages/${name}/${name}${queryOf(members)}` });
}

/** Decodes the members that `openPage` encoded. WeChat passes them to `onLoad` as they are. */
function decoded(members) {
  return Object.keys(members || {}).reduce(
    (all, name) => ({ ...all, [name]: decodeURIComponent(members[name]) }),
    {},
  );
}

module.exports = { queryOf, openPage, decoded };
