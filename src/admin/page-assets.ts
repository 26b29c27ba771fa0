/** Everything that the status page loads. It needs no other server. */

export const PAGE_ICON = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><circle cx="16" cy="16" r="15" fill="#0f766e"/>
<path d="M8 13h14l-4-4M24 19H10l4 4" fill="none" stroke="#fff" stroke-width="2.5" stroke-linecap="round" stroke-linejoin="round"/></svg>
`;

export const PAGE_STYLE = `:root {
  color-scheme: light dark;
  --page: #f6f7f9; --card: #fff; --line: #dfe3e8; --text: #17202a; --dim: #57636f;
  --good: #0f766e; --warn: #8a5300; --bad: #b42318; --bad-card: #fef3f2; --link: #0b5cad;
  --passed: #4f9f96; --client: #c98a1b; --server: #c9372c; --refused: #8b95a1;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #11161c; --card: #1a2129; --line: #2e3843; --text: #e6eaee; --dim: #9aa7b4;
    --good: #4fd1c5; --warn: #f0b95b; --bad: #ff9c92; --bad-card: #2c1a1a; --link: #7cc0ff;
    --passed: #3f8f87; --client: #c48a2a; --server: #e0564a; --refused: #748090;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0 auto; max-width: 80rem; padding: 1rem clamp(0.75rem, 3vw, 2rem) 2rem;
  background: var(--page); color: var(--text); font: 0.9375rem/1.45 system-ui, sans-serif;
}
:focus-visible { outline: 2px solid var(--link); outline-offset: 2px; }
header { display: flex; flex-wrap: wrap; align-items: center; gap: 0.5rem 1rem; margin-bottom: 1rem; }
header p { margin: 0; }
h1 { display: flex; align-items: center; gap: 0.5rem; margin: 0; font-size: 1.375rem; }
h1 small { color: var(--dim); font-size: 0.875rem; font-weight: 400; }
h2 { margin: 0 0 0.5rem; font-size: 1rem; }
#live { margin-left: auto; color: var(--dim); font-size: 0.8125rem; }
#live.lost { color: var(--bad); font-weight: 600; }
section { margin-bottom: 1.5rem; overflow-x: auto; }
.pill { white-space: nowrap; font-weight: 600; }
.good { color: var(--good); }
.warn { color: var(--warn); }
.bad { color: var(--bad); }
.idle, .dim, .empty, .more, .legend, footer { color: var(--dim); }
.empty, .more, .legend { margin: 0; }
.more, .legend, footer { font-size: 0.8125rem; }
#attention { padding: 0.75rem 1rem; border: 1px solid var(--bad); border-radius: 0.5rem; background: var(--bad-card); }
#attention ul { margin: 0; padding-left: 1.25rem; }
#attention li { overflow-wrap: anywhere; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(10rem, 1fr)); gap: 0.75rem; }
.tile { display: flex; flex-direction: column; min-width: 0; padding: 0.75rem 0.875rem; border: 1px solid var(--line); border-radius: 0.5rem; background: var(--card); }
.tile h3 { margin: 0; color: var(--dim); font-size: 0.8125rem; font-weight: 500; }
.tile p { margin: 0; }
.tile svg, .tile .more:last-child { margin-top: auto; }
.tile svg { padding-top: 0.375rem; height: 2.25rem; }
.value { font-size: 1.625rem; font-weight: 600; line-height: 1.25; }
.value, .figure, .more, time { font-variant-numeric: tabular-nums; }
svg { display: block; width: 100%; overflow: visible; }
svg path { stroke: none; }
.passed { fill: var(--passed); }
.client { fill: var(--client); }
.server { fill: var(--server); }
.refused { fill: var(--refused); }
.time { fill: var(--dim); }
svg .base { fill: none; stroke: var(--line); stroke-width: 1; vector-effect: non-scaling-stroke; }
.legend { display: flex; flex-wrap: wrap; gap: 0.125rem 0.75rem; margin-bottom: 0.5rem; }
.key { white-space: nowrap; }
.key::before { content: ''; display: inline-block; width: 0.625rem; height: 0.625rem; margin-right: 0.375rem; border-radius: 0.125rem; background: var(--refused); }
.key.passed::before { background: var(--passed); }
.key.client::before { background: var(--client); }
.key.server::before { background: var(--server); }
table { width: 100%; border-collapse: separate; border-spacing: 0; border: 1px solid var(--line); border-radius: 0.5rem; background: var(--card); }
th, td { padding: 0.4rem 0.5rem; text-align: left; vertical-align: baseline; }
tbody th { min-width: 8rem; font-weight: 600; overflow-wrap: anywhere; }
thead th, thead .bad, thead .warn { color: var(--dim); font-size: 0.8125rem; font-weight: 500; vertical-align: bottom; }
thead .figure { white-space: normal; }
tbody tr > * { border-top: 1px solid var(--line); }
.figure { padding-inline: 0.25rem; text-align: right; white-space: nowrap; }
td time, td code { white-space: nowrap; }
.target code, .prose code { white-space: normal; }
.prose { min-width: 14rem; }
td.warn, td.bad { font-weight: 600; }
td.nothing { color: var(--dim); font-weight: 400; }
code { font: 0.8125rem/1.4 ui-monospace, monospace; overflow-wrap: anywhere; }
.chart { padding-block: 0.3rem 0; }
.chart svg { min-width: 4rem; height: 1.5rem; }
.about td { padding-top: 0; border-top: 0; font-size: 0.8125rem; }
.about p { margin: 0; }
.about code { font-size: 0.75rem; white-space: normal; }
.about .token { margin-left: 0.75rem; }
:target { text-decoration: underline; }
dl { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(22rem, 100%), 1fr)); gap: 0.5rem 1.5rem; margin: 0 0 0.75rem; padding: 0.75rem 1rem; border: 1px solid var(--line); border-radius: 0.5rem; background: var(--card); }
dl div { display: flex; flex-wrap: wrap; gap: 0 0.75rem; }
dt { color: var(--dim); }
dd { margin: 0; }
select { padding: 0.125rem 0.25rem; border: 1px solid var(--dim); border-radius: 0.25rem; background: var(--card); color: var(--text); font: inherit; }
details { margin-top: 0.5rem; }
summary { cursor: pointer; color: var(--link); font-size: 0.8125rem; }
pre { max-height: 30rem; margin: 0.5rem 0 0; padding: 0.75rem 1rem; overflow: auto; border: 1px solid var(--line); border-radius: 0.5rem; background: var(--card); }
pre code { overflow-wrap: normal; }
a { color: var(--link); }
`;

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
