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

/** The last bound of the histograms, which do not distinguish longer durations. */
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

/** A cell shows a number or a text, and a number of zero dimmed: a column of zeros hides the others. */
type Cell = string | number | Markup | undefined;

/** The name of a column, its cell in a row, and the CSS classes of the cell. The first column names the rows. */
export type Column<Row> = readonly [name: string, of: (row: Row) => Cell, kind?: string];

interface TableOptions<Row> {
  /** The text in place of a table without rows. */
  readonly empty?: string;
  /** The content that follows the table. */
  readonly more?: Markup | undefined;
  /** Returns the row that follows a row. */
  readonly below?: (row: Row) => Markup;
}

/** A section with a table. */
export function table<Row>(
  id: string,
  title: string,
  columns: readonly Column<Row>[],
  rows: readonly Row[],
  { empty, more, below }: TableOptions<Row> = {},
): Markup {
  if (rows.length === 0) return section(id, title, html`<p class="empty">${empty}</p>`);
  return section(id, title, html`\n${rowsTable(columns, rows, below)}${more}`);
}

export function section(id: string, title: string, content: Markup): Markup {
  return html`<section id="${id}" aria-labelledby="${id}-title"><h2 id="${id}-title">${title}</h2>${content}</section>`;
}

export function rowsTable<Row>(
  columns: readonly Column<Row>[],
  rows: readonly Row[],
  below?: TableOptions<Row>['below'],
): Markup {
  const headers = columns.map(([name, , kind]) => html`<th scope="col" class="${kind}">${name}</th>`);
  return html`<table><thead><tr>${headers}</tr></thead><tbody>
${rows.map((row) => html`<tr>${columns.map((column, at) => cell(column, row, at === 0))}</tr>\n${below?.(row)}`)}</tbody></table>`;
}

function cell<Row>([, of, kind = '']: Column<Row>, row: Row, isName: boolean): Markup {
  const value = of(row);
  const text = typeof value === 'number' ? count(value) : value;
  if (isName) return html`<th scope="row">${text}</th>`;
  const isNothing = value === 0 || value === '0' || value === NONE;
  return html`<td class="${kind}${isNothing ? ' nothing' : ''}">${text}</td>`;
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
