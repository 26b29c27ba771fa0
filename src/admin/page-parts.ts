/** A part with `warn` has a problem, and still serves. */
export type Mood = 'good' | 'warn' | 'bad' | 'idle';

const SIGNS: Readonly<Record<Mood, string>> = { good: '●', warn: '◆', bad: '▲', idle: '○' };

/** Shows a state by a sign and a word as well as by colour. */
export function pill(mood: Mood, word: string): Markup {
  return html`<span class="pill ${mood}"><span aria-hidden="true">${SIGNS[mood]}</span> ${word}</span>`;
}

const COMPACT = new Intl.NumberFormat('en', { notation: 'compact', maximumFractionDigits: 1 });
const EXACT = new Intl.NumberFormat('en');

/** A number of five digits at most. */
export function count(value: number): string {
  return value > 99_999 ? COMPACT.format(value) : EXACT.format(value);
}

/** The name of a route, or of the team whose region has a request without one. */
export function routeOf({ route, team }: { readonly route?: string | undefined; readonly team?: string | undefined }) {
  return route ?? (team === undefined ? 'not routed' : `no route of ${team}`);
}

/** A number with its noun, whose plural ends in s. */
export function counted(value: number, noun: string): string {
  return `${count(value)} ${value === 1 ? noun : `${noun}s`}`;
}

/** Stands for a number that does not exist. */
export const NONE = '–';

export function percent(part: number, whole: number): string {
  return whole === 0 ? NONE : `${Math.floor((100 * part) / whole)} %`;
}

/** The last bound of the histograms. Longer durations are not told apart. */
const LONGEST_MS = 60_000;

export function duration(ms: number | undefined): string {
  if (ms === undefined) return NONE;
  if (ms >= LONGEST_MS) return '≥ 60 s';
  return ms >= 1000 ? `${EXACT.format(Number((ms / 1000).toPrecision(2)))} s` : `${EXACT.format(ms)} ms`;
}

/** A cause or fix of the doctor, which begins in lower case and has no full stop, as a sentence. */
export function sentence(text: string | undefined): string | undefined {
  if (text === undefined || text === '') return undefined;
  const end = /[.:!?]$/.test(text) ? '' : '.';
  return text.charAt(0).toUpperCase() + text.slice(1) + end;
}

/** A time in UTC. The script shows it in the zone of the browser. */
export function time(iso: string): Markup {
  return html`<time datetime="${iso}">${iso.slice(0, 19).replace('T', ' ')} UTC</time>`;
}

export function codes(names: readonly string[]): Markup {
  return html`${names.map((name, index) => html`${index === 0 ? '' : ', '}<code>${name}</code>`)}`;
}

/**
 * A section with a table.
 * @param columns names of number columns begin with `#`
 * @param more follows the table
 */
export function table(
  id: string,
  title: string,
  columns: readonly string[],
  rows: readonly Markup[],
  empty: string,
  more?: Markup,
): Markup {
  const content = rows.length === 0 ? html`<p class="empty">${empty}</p>` : html`\n${rowsTable(columns, rows)}${more}`;
  return html`<section id="${id}" aria-labelledby="${id}-title"><h2 id="${id}-title">${title}</h2>${content}</section>`;
}

/** The roles keep it a table for screen readers where a narrow page shows it as cards. */
export function rowsTable(columns: readonly string[], rows: readonly Markup[]): Markup {
  const headers = columns.map((column) =>
    column.startsWith('#')
      ? html`<th role="columnheader" scope="col" class="figure">${column.slice(1)}</th>`
      : html`<th role="columnheader" scope="col">${column}</th>`,
  );
  return html`<table role="table"><thead role="rowgroup"><tr role="row">${headers}</tr></thead><tbody role="rowgroup">
${rows}</tbody></table>`;
}

/** HTML in which every inserted text is escaped. */
export interface Markup {
  readonly text: string;
}

type Part = string | number | undefined | Markup | readonly Markup[];

/** A template of HTML. Inserted texts are escaped for elements and for quoted attributes. */
export function html(parts: TemplateStringsArray, ...values: readonly Part[]): Markup {
  const text = parts.map((part, index) => part + rendered(values[index])).join('');
  return { text };
}

function rendered(part: Part): string {
  if (part === undefined) return '';
  if (typeof part === 'string' || typeof part === 'number') return escaped(String(part));
  return 'text' in part ? part.text : part.map(({ text }) => text).join('');
}

const ENTITIES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
};

function escaped(text: string): string {
  return text.replace(/[&<>"']/g, (char) => ENTITIES[char] ?? '');
}
