import { escapeXml, niceCeiling } from '../harness/svg.ts';
import type { Trend } from './trend.ts';

/** A line of a panel. */
export interface Series {
  readonly name: string;
  readonly values: readonly number[];
  readonly trend?: Trend;
}

export interface Panel {
  readonly title: string;
  readonly series: readonly Series[];
}

const WIDTH = 820;
const PANEL_HEIGHT = 180;
const LEFT = 60;
const RIGHT = 150;
const TOP = 30;
const BOTTOM = 24;
const TICKS = 4;
const COLOURS = ['#1f6feb', '#d1242f', '#1a7f37'];

/**
 * Draws one panel below the other, over the same time.
 * @param hours the time of each value
 */
export function plot(title: string, hours: readonly number[], panels: readonly Panel[]): string {
  const height = TOP + panels.length * PANEL_HEIGHT;
  const drawn = panels.map((panel, index) => drawPanel(panel, hours, TOP + index * PANEL_HEIGHT));
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" font-family="sans-serif" font-size="11">
<title>${escapeXml(title)}</title>
<rect width="${WIDTH}" height="${height}" fill="#fff"/>
<text x="${LEFT}" y="18" font-size="13">${escapeXml(title)}</text>
${drawn.join('\n')}
</svg>
`;
}

function drawPanel({ title, series }: Panel, hours: readonly number[], top: number): string {
  const bottom = top + PANEL_HEIGHT - BOTTOM;
  const upper = top + 16;
  const max = niceCeiling(Math.max(...series.flatMap(({ values }) => values), 0));
  const last = hours.at(-1) || 1;
  const x = (value: number): string => (LEFT + (value / last) * (WIDTH - LEFT - RIGHT)).toFixed(1);
  const y = (value: number): string => (bottom - (value / max) * (bottom - upper)).toFixed(1);
  const parts = [`<text x="${LEFT}" y="${top + 10}" fill="#555">${escapeXml(title)}</text>`];
  for (let i = 0; i <= TICKS; i += 1) {
    const value = (max * i) / TICKS;
    parts.push(
      `<path d="M${LEFT} ${y(value)}H${WIDTH - RIGHT}" stroke="#ddd"/>`,
      `<text x="${LEFT - 6}" y="${y(value)}" dy="4" text-anchor="end" fill="#555">${format(value)}</text>`,
      `<text x="${x((last * i) / TICKS)}" y="${bottom + 14}" text-anchor="middle" fill="#555">${format((last * 60 * i) / TICKS)} min</text>`,
    );
  }
  for (const [index, { name, values, trend }] of series.entries()) {
    const colour = COLOURS[index % COLOURS.length];
    const points = values.map((value, i) => `${x(hours[i] ?? 0)},${y(value)}`).join(' ');
    parts.push(
      `<polyline points="${points}" fill="none" stroke="${colour}" stroke-width="1.2"/>`,
      `<text x="${WIDTH - RIGHT + 8}" y="${upper + 14 * (index + 1)}" fill="${colour}">${escapeXml(name)}</text>`,
    );
    if (trend === undefined) continue;
    const end = trend.intercept + trend.slope * last;
    parts.push(
      `<path d="M${x(0)} ${y(trend.intercept)}L${x(last)} ${y(end)}" stroke="${colour}" stroke-dasharray="4 3" opacity="0.6"/>`,
    );
  }
  return parts.join('\n');
}

function format(value: number): string {
  return String(Number(value.toPrecision(3)));
}
