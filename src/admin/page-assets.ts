/** Everything that the status page loads. It needs no other server. */

export const PAGE_ICON = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><circle cx="16" cy="16" r="15" fill="#0f766e"/>
<path d="M8 13h14l-4-4M24 19H10l4 4" fill="none" stroke="#fff" stroke-width="2.5" stroke-linecap="round" stroke-linejoin="round"/></svg>
`;

export const PAGE_STYLE = `:root {
  color-scheme: light dark;
  --page: #f6f7f9; --card: #fff; --line: #dfe3e8; --text: #17202a; --dim: #57636f;
  --good: #0f766e; --bad: #b42318; --bad-card: #fef3f2; --link: #0b5cad;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #11161c; --card: #1a2129; --line: #2e3843; --text: #e6eaee; --dim: #9aa7b4;
    --good: #4fd1c5; --bad: #ff9c92; --bad-card: #2c1a1a; --link: #7cc0ff;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0 auto; max-width: 76rem; padding: 1rem clamp(0.75rem, 3vw, 2rem) 2rem;
  background: var(--page); color: var(--text); font: 0.9375rem/1.45 system-ui, sans-serif;
}
header { display: flex; flex-wrap: wrap; align-items: center; gap: 0.5rem 1rem; margin-bottom: 1rem; }
h1 { display: flex; align-items: center; gap: 0.5rem; margin: 0; font-size: 1.375rem; }
h1 small { color: var(--dim); font-size: 0.875rem; font-weight: 400; }
h2 { margin: 0 0 0.5rem; font-size: 1rem; }
#live { margin: 0 0 0 auto; color: var(--dim); font-size: 0.8125rem; }
#live.lost { color: var(--bad); }
section { margin-bottom: 1.25rem; }
.pill { white-space: nowrap; font-weight: 600; }
.good { color: var(--good); }
.bad { color: var(--bad); }
.idle, .empty, footer, .more { color: var(--dim); }
.empty { margin: 0; }
.attention { padding: 0.75rem 1rem; border: 1px solid var(--bad); border-radius: 0.5rem; background: var(--bad-card); }
.attention ul { margin: 0; padding-left: 1.25rem; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(10.5rem, 1fr)); gap: 0.75rem; }
.tile { display: grid; grid-template-rows: auto auto 1fr auto; padding: 0.75rem 1rem; border: 1px solid var(--line); border-radius: 0.5rem; background: var(--card); }
.tile h3 { margin: 0; color: var(--dim); font-size: 0.8125rem; font-weight: 500; }
.tile p { margin: 0; }
.tile .more, .rate { font-size: 0.8125rem; }
.value { font-size: 1.625rem; font-weight: 600; line-height: 1.25; }
.value, .figure, .rate, time { font-variant-numeric: tabular-nums; }
.rate { display: flex; align-self: end; align-items: center; justify-content: space-between; gap: 0.5rem; color: var(--dim); }
.rate svg { flex: 1; min-width: 3rem; height: 1.5rem; color: var(--good); }
table { width: 100%; border-collapse: separate; border-spacing: 0; border: 1px solid var(--line); border-radius: 0.5rem; background: var(--card); overflow: hidden; }
th, td { padding: 0.45rem 0.75rem; text-align: left; vertical-align: baseline; }
tbody th { min-width: 6.5rem; font-weight: 600; overflow-wrap: anywhere; }
thead th { color: var(--dim); font-size: 0.8125rem; font-weight: 500; }
tbody tr > * { border-top: 1px solid var(--line); }
.figure { text-align: right; white-space: nowrap; }
td time, td code { white-space: nowrap; }
.prose { min-width: 14rem; }
code { font: 0.8125rem/1.4 ui-monospace, monospace; overflow-wrap: anywhere; }
dl { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(22rem, 100%), 1fr)); gap: 0.5rem 1.5rem; margin: 0; padding: 0.75rem 1rem; border: 1px solid var(--line); border-radius: 0.5rem; background: var(--card); }
dl div { display: flex; flex-wrap: wrap; gap: 0 0.75rem; }
dt { color: var(--dim); }
dd { margin: 0; }
a { color: var(--link); }
footer { font-size: 0.8125rem; }
@media (max-width: 52rem) {
  thead { display: none; }
  table, tbody, td, tbody th { display: block; }
  tr { display: grid; grid-template-columns: 1fr 1fr; padding: 0.5rem 0; }
  tbody th, .whole, .prose { grid-column: 1 / -1; }
  tr + tr { border-top: 1px solid var(--line); }
  tbody tr > * { border: 0; padding: 0.15rem 1rem; }
  td { display: flex; flex-wrap: wrap; min-width: 0; justify-content: space-between; gap: 0 0.75rem; text-align: right; }
  td::before { content: attr(data-label); color: var(--dim); text-align: left; flex: none; }
  .prose { display: block; min-width: 0; text-align: left; }
  .prose::before { content: none; }
  .tiles { grid-template-columns: repeat(2, 1fr); }
  #live { margin-left: 0; width: 100%; }
}
`;

/** Runs in the browser. It inserts text, never HTML. */
export const PAGE_SCRIPT = `'use strict';
const POLL_MS = 2000;
const KEPT = 60;
const history = new Map();
let shape;
let previous;

const at = (report, path) => path.split('.').reduce((value, key) => value?.[key], report);
const count = (value) => (value === undefined ? '\\u2013' : value.toLocaleString('en'));
const clock = (date) => date.toLocaleTimeString([], { hour: '2-digit', minute: '2-digit', second: '2-digit' });
const exchanges = (report) => report.authorization_servers.reduce((sum, server) => sum + server.exchanges, 0);
const rated = (report, name) => (name === 'exchanges' ? exchanges(report) : at(report, name));

/** Everything that changes more than a number. If it changes, the page is loaded again. */
function shapeOf({ version, started_at, ready, missing, config, authorization_servers, failures, credentials }) {
  const states = authorization_servers.map(({ state }) => state);
  const kinds = failures.map(({ route, error }) => [route, error]);
  return JSON.stringify([version, started_at, ready, missing, config, states, kinds, credentials]);
}

async function reload() {
  const response = await fetch('./', { cache: 'no-store' });
  const page = new DOMParser().parseFromString(await response.text(), 'text/html');
  document.querySelector('main').replaceWith(page.querySelector('main'));
  document.querySelector('header .pill').replaceWith(page.querySelector('header .pill'));
  document.querySelector('footer').replaceWith(page.querySelector('footer'));
  document.title = page.title;
}

function write(report) {
  for (const element of document.querySelectorAll('[data-figure]')) {
    const value = at(report, element.dataset.figure);
    const text = count(value) + (element.dataset.as === 'ms' && value !== undefined ? ' ms' : '');
    if (element.textContent !== text) element.textContent = text;
  }
  for (const element of document.querySelectorAll('[data-whole]')) {
    const whole = at(report, element.dataset.whole);
    element.textContent = whole === 0 ? '\\u2013' : Math.floor((100 * at(report, element.dataset.part)) / whole) + ' %';
  }
  for (const element of document.querySelectorAll('[data-sum]')) element.textContent = count(exchanges(report));
  report.failures.forEach(({ last_at }, index) => {
    const cell = document.querySelector('[data-figure="failures.' + index + '.count"]');
    cell?.closest('tr').querySelector('time').setAttribute('datetime', last_at);
  });
  for (const element of document.querySelectorAll('time')) {
    const date = new Date(element.dateTime);
    const today = date.toDateString() === new Date().toDateString();
    element.textContent = today ? clock(date) : date.toLocaleDateString() + ' ' + clock(date);
    element.title = element.dateTime;
  }
}

/** Shows the current rate and a line of the last two minutes. */
function draw(report, nowMs) {
  for (const element of document.querySelectorAll('[data-rate]')) {
    const name = element.dataset.rate;
    const rates = history.get(name) ?? [];
    history.set(name, rates);
    if (previous !== undefined && previous.nowMs !== nowMs) {
      const rate = (1000 * (rated(report, name) - rated(previous.report, name))) / (nowMs - previous.nowMs);
      rates.push(Math.max(0, rate));
      if (rates.length > KEPT) rates.shift();
    }
    const last = rates.at(-1);
    if (last === undefined) continue;
    const label = document.createElement('span');
    label.textContent = (last >= 10 ? Math.round(last) : Math.round(10 * last) / 10).toLocaleString('en') + '/s';
    element.replaceChildren(label, line(rates));
  }
}

function line(rates) {
  const space = 'http://www.w3.org/2000/svg';
  const top = Math.max(1, ...rates);
  const points = rates.map((rate, index) => ((KEPT - rates.length + index) * 100) / (KEPT - 1) + ',' + (23 - (22 * rate) / top));
  const svg = document.createElementNS(space, 'svg');
  svg.setAttribute('viewBox', '0 0 100 24');
  svg.setAttribute('preserveAspectRatio', 'none');
  svg.setAttribute('aria-hidden', 'true');
  const path = document.createElementNS(space, 'polyline');
  for (const [name, value] of Object.entries({ points: points.join(' '), fill: 'none', stroke: 'currentColor', 'stroke-width': '1.5', 'vector-effect': 'non-scaling-stroke' })) {
    path.setAttribute(name, value);
  }
  svg.append(path);
  return svg;
}

function showState(text, lost) {
  const live = document.getElementById('live');
  live.textContent = text;
  live.className = lost ? 'lost' : '';
}

async function poll() {
  try {
    const response = await fetch('status.json', { cache: 'no-store' });
    if (!response.ok) throw new Error(String(response.status));
    const report = await response.json();
    const nowMs = performance.now();
    const next = shapeOf(report);
    if (next !== shape) await reload();
    shape = next;
    if (previous?.report.started_at !== report.started_at) {
      previous = undefined;
      history.clear();
    }
    write(report);
    draw(report, nowMs);
    previous = { report, nowMs };
    showState('live, ' + clock(new Date()), false);
  } catch {
    showState('no response from cambist since ' + (previous === undefined ? 'this page was loaded' : clock(new Date(performance.timeOrigin + previous.nowMs))), true);
  }
}

/** Does not poll while the page is hidden. */
async function loop() {
  if (!document.hidden) await poll();
  setTimeout(loop, POLL_MS);
}

loop();
`;
