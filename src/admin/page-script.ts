/** Runs in the browser. It fetches the page again and applies what changed. It inserts no HTML from texts. */
export const PAGE_SCRIPT = `'use strict';
const POLL_MS = 2000;
/** A page of many routes takes longer, and is fetched less often. */
const SHARE_OF_TIME = 20;
/** What the reader chose on this page. */
const OWN_ATTRIBUTES = ['open'];
let seen = new Date();

const pad = (date) => date.toLocaleTimeString([], { hour: '2-digit', minute: '2-digit', second: '2-digit' });

/** Adapts a page from cambist to this browser: its time zone, and controls that need this script. */
function adapt(page) {
  for (const element of page.querySelectorAll('time')) {
    const date = new Date(element.dateTime);
    const today = date.toDateString() === new Date().toDateString();
    element.textContent = today ? pad(date) : date.toLocaleDateString() + ' ' + pad(date);
    element.title = element.dateTime;
  }
  page.getElementById('zone').textContent = '(' + Intl.DateTimeFormat().resolvedOptions().timeZone + ')';
  page.getElementById('level')?.removeAttribute('hidden');
  if (page.getElementById('level') !== null) page.getElementById('level-text').hidden = true;
}

/** Makes an element like another one. Elements that stay keep focus, selection and scroll position. */
function update(element, next) {
  for (const { name, value } of next.attributes) {
    if (element.getAttribute(name) !== value) element.setAttribute(name, value);
  }
  for (const { name } of [...element.attributes]) {
    if (!next.hasAttribute(name) && !OWN_ATTRIBUTES.includes(name)) element.removeAttribute(name);
  }
  const named = new Map([...element.children].filter(({ id }) => id !== '').map((child) => [child.id, child]));
  let at = element.firstChild;
  for (const child of [...next.childNodes]) {
    const known = (child.id && named.get(child.id)) || (at !== null && isAlike(at, child) ? at : undefined);
    if (known === undefined) {
      element.insertBefore(document.importNode(child, true), at);
      continue;
    }
    if (known === at) at = at.nextSibling;
    else element.insertBefore(known, at);
    if (known.nodeType === Node.ELEMENT_NODE) update(known, child);
    else if (known.data !== child.data) known.data = child.data;
  }
  while (at !== null) {
    const rest = at;
    at = at.nextSibling;
    rest.remove();
  }
  if (element.id === 'level' && document.activeElement !== element) element.value = element.querySelector('[selected]').value;
}

function isAlike(node, next) {
  return node.nodeName === next.nodeName && (node.id ?? '') === (next.id ?? '');
}

function show(text, isLost) {
  const connection = document.getElementById('connection');
  if (connection.textContent !== text) connection.textContent = text;
  document.getElementById('live').className = isLost ? 'lost' : '';
}

async function poll() {
  try {
    const response = await fetch('./', { cache: 'no-store' });
    if (!response.ok) throw new Error(String(response.status));
    const page = new DOMParser().parseFromString(await response.text(), 'text/html');
    adapt(page);
    page.getElementById('connection').textContent = 'live,';
    seen = new Date();
    page.getElementById('clock').textContent = pad(seen);
    update(document.body, page.body);
    document.title = page.title;
    show('live,', false);
  } catch {
    show('no response from cambist since', true);
    document.getElementById('clock').textContent = pad(seen);
  }
}

let timer;

/** Does not poll while the page is hidden. */
async function loop() {
  clearTimeout(timer);
  const startedMs = performance.now();
  if (!document.hidden) await poll();
  clearTimeout(timer);
  timer = setTimeout(loop, Math.max(POLL_MS, SHARE_OF_TIME * (performance.now() - startedMs)));
}

async function changeLevel(level) {
  const note = document.getElementById('level-note');
  try {
    const headers = { 'content-type': 'application/json' };
    const response = await fetch('log-level', { method: 'PUT', headers, body: JSON.stringify({ level }) });
    if (!response.ok) throw new Error((await response.json()).error);
    await poll();
  } catch (error) {
    note.textContent = ' not changed: ' + error.message;
  }
}

adapt(document);
document.addEventListener('change', ({ target }) => {
  if (target.id === 'level') changeLevel(target.value);
});
document.addEventListener('visibilitychange', () => {
  if (!document.hidden) loop();
});
loop();
`;
