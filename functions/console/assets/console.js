// Refreshing, copy buttons and keys. Every page works without this file.

const EVERY_MS = 10000;

const main = () => document.getElementById('main');
const isEditing = () => main()?.contains(document.activeElement) && document.activeElement.matches('input, select, textarea, button, summary');

/** Replaces the content by that of a fresh load of the page, but not under the user's hands. */
function refresh() {
  if (document.hidden || sessionStorage.getItem('paused') || isEditing() || !getSelection().isCollapsed) return;
  if (document.querySelector('#main details[open]')) return;
  htmx.ajax('GET', location.href, { target: '#main', select: '#main', swap: 'outerHTML' });
}

function startRefreshing() {
  const place = document.getElementById('refresh');
  if (!document.querySelector('[data-refresh]')) return;
  const button = place.querySelector('button');
  const show = () => {
    button.textContent = sessionStorage.getItem('paused') ? place.dataset.resume : place.dataset.pause;
  };
  button.addEventListener('click', () => {
    if (sessionStorage.getItem('paused')) sessionStorage.removeItem('paused');
    else sessionStorage.setItem('paused', '1');
    show();
  });
  show();
  place.hidden = false;
  setInterval(refresh, EVERY_MS);
}

document.addEventListener('click', async ({ target }) => {
  if (!target.matches?.('[data-copy]')) return;
  await navigator.clipboard.writeText(target.dataset.copy);
  const { textContent } = target;
  target.textContent = target.dataset.copied;
  setTimeout(() => {
    target.textContent = textContent;
  }, 1200);
});

document.addEventListener('keydown', (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches('input, select, textarea')) return;
  if (event.key === '/') {
    const field = document.querySelector('.filters select, .filters input:not([type="hidden"])');
    if (field) {
      event.preventDefault();
      field.focus();
    }
  } else if (event.key === '?') {
    document.getElementById('help')?.showModal();
  }
});

// On a narrow screen, the navigation scrolls sideways.
document.querySelector('nav [aria-current]')?.scrollIntoView({ block: 'nearest', inline: 'center' });
startRefreshing();
