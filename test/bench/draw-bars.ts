import { escapeXml, niceCeiling } from '../harness/svg.ts';
import { drawFrame, WIDTH } from './draw-frame.ts';
import { short } from './report.ts';
import type { Spread } from './statistics.ts';

export interface BarChart {
  readonly title: string;
  /** Which direction is better. */
  readonly better: string;
  readonly unit: string;
  readonly note: string;
  readonly bars: readonly { readonly label: string; readonly spread: Spread }[];
}

const LEFT = 200;
const RIGHT = 70;
const TOP = 62;
const STEP = 30;
const THICKNESS = 18;
const TICKS = 5;

/** One bar for each contestant up to its median, with a line from the lower to the upper quartile. */
export function drawBars({ title, better, unit, note, bars }: BarChart): string {
  const max = niceCeiling(Math.max(0, ...bars.map(({ spread }) => Math.max(spread.median, spread.upper))));
  const x = (value: number): number => LEFT + (value / max) * (WIDTH - LEFT - RIGHT);
  const bottom = TOP + bars.length * STEP;
  const content = [`<text class="muted" x="16" y="48">${escapeXml(`${unit}; ${better}`)}</text>`];
  for (let i = 0; i <= TICKS; i += 1) {
    const value = (max * i) / TICKS;
    content.push(
      `<path class="rule" d="M${at(x(value))} ${TOP - 4}V${bottom}"/>`,
      `<text class="muted" x="${at(x(value))}" y="${bottom + 16}" font-size="11" text-anchor="middle">${short(value)}</text>`,
    );
  }
  for (const [index, { label, spread }] of bars.entries()) {
    const middle = TOP + index * STEP + STEP / 2;
    const { median, lower, upper } = spread;
    const end = Math.max(x(median), x(upper));
    content.push(
      `<text class="text" x="${LEFT - 10}" y="${middle + 4}" text-anchor="end">${escapeXml(label)}</text>`,
      `<rect class="${index === 0 ? 'fill0' : 'others'}" x="${LEFT}" y="${middle - THICKNESS / 2}" width="${at(x(median) - LEFT)}" height="${THICKNESS}"/>`,
      `<path class="mark" d="M${at(x(lower))} ${middle}H${at(x(upper))}M${at(x(lower))} ${middle - 4}v8M${at(x(upper))} ${middle - 4}v8"/>`,
      `<text class="text" x="${at(end + 6)}" y="${middle + 4}">${short(median)}</text>`,
    );
  }
  const words = bars.map(({ label, spread }) => `${label} ${short(spread.median)}`);
  const description = `Bars of ${unit}; ${better}. ${words.join('; ')}.`;
  return drawFrame({ title, description, note, height: bottom + 56, content });
}

function at(value: number): string {
  return value.toFixed(1);
}
