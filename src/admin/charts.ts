import {
  allErrors,
  RESPONSE_CLASSES,
  type ResponseClass,
  type ResponseClasses,
} from '../observability/response-classes.ts';
import { html, type Markup } from './page-parts.ts';

/** Height of a chart in its own units. Its width is the number of bars. */
const HEIGHT = 24;
const BAR_WIDTH = 0.8;

interface Part<T> {
  /** CSS class of its colour. */
  readonly kind: 'passed' | 'refused' | 'client' | 'server' | 'time';
  readonly of: (interval: T) => number;
}

/** These rise from the base line. */
const PASSED: readonly Part<ResponseClasses>[] = [{ kind: 'passed', of: (one) => one['2xx'] + one['3xx'] + one.other }];
/** These hang from it, so that the chart needs no colours. */
const ERRORS: readonly Part<ResponseClasses>[] = [
  { kind: 'refused', of: ({ refused }) => refused },
  { kind: 'client', of: (one) => one['4xx'] },
  { kind: 'server', of: allErrors },
];

/** Bars of the responses in each interval: successes upwards, 4xx and 5xx downwards, at one scale. */
export function responseBars(intervals: readonly ResponseClasses[]): Markup {
  const sums = (parts: readonly Part<ResponseClasses>[]) =>
    intervals.map((one) => parts.reduce((sum, { of }) => sum + of(one), 0));
  const up = Math.max(...sums(PASSED));
  const down = Math.max(...sums(ERRORS));
  const base = up + down === 0 ? HEIGHT : (HEIGHT * up) / (up + down);
  const unit = HEIGHT / Math.max(1, up + down);
  const paths = [...stack(PASSED, intervals, base, -unit), ...stack(ERRORS, intervals, base, unit)];
  return chart(intervals.length, base, paths);
}

export function bars<T>(kind: Part<T>['kind'], intervals: readonly T[], of: (interval: T) => number): Markup {
  const unit = HEIGHT / Math.max(1, ...intervals.map(of));
  return chart(intervals.length, HEIGHT, stack([{ kind, of }], intervals, HEIGHT, -unit));
}

function stack<T>(parts: readonly Part<T>[], intervals: readonly T[], base: number, unit: number): Markup[] {
  const ends = intervals.map(() => base);
  return parts.map(({ kind, of }) => {
    const path = intervals.map((one, at) => {
      const from = ends[at] ?? base;
      ends[at] = from + of(one) * unit;
      return bar(at, from, of(one) * unit);
    });
    return html`<path class="${kind}" d="${path.join('')}"/>`;
  });
}

/** A small number is still visible. */
const MIN_HEIGHT = 1;

function bar(at: number, from: number, height: number): string {
  if (height === 0) return '';
  const shown = Math.sign(height) * Math.max(MIN_HEIGHT, Math.abs(height));
  return `M${at} ${round(from)}v${round(shown)}h${BAR_WIDTH}v${round(-shown)}z`;
}

function round(value: number): number {
  return Math.round(100 * value) / 100;
}

/** Hidden from screen readers, because the numbers stand beside it. */
function chart(width: number, base: number, paths: readonly Markup[]): Markup {
  return html`<svg viewBox="0 0 ${width} ${HEIGHT}" preserveAspectRatio="none" aria-hidden="true">${paths}<path class="base" d="M0 ${round(base)}H${width}"/></svg>`;
}

/** Half as many intervals, for charts in a table. The last one is the current one. */
export function paired(intervals: readonly ResponseClasses[]): ResponseClasses[] {
  const pairs: ResponseClasses[] = [];
  for (let at = intervals.length - 1; at > 0; at -= 2) pairs.unshift(added(intervals[at - 1], intervals[at]));
  return pairs;
}

function added(one: ResponseClasses | undefined, other: ResponseClasses | undefined): ResponseClasses {
  const sum = (name: keyof ResponseClasses): number => (one?.[name] ?? 0) + (other?.[name] ?? 0);
  return Object.fromEntries(RESPONSE_CLASSES.map((name) => [name, sum(name)])) as Record<ResponseClass, number>;
}
