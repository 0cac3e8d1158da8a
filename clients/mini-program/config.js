// Where Parlor is. For a test in the developer tools, paste the output of
// `cargo run -q -- token 1003` as `token`. A real mini-program gets both from its own login.

module.exports = {
  baseUrl: 'http://127.0.0.1:9000',
  token: '',
  // The areas of the site, for the finance page. The page adds “all areas”.
  areas: ['大厅', '包厢', '斯诺克区'],
};
