import { escapeXml } from '../harness/svg.ts';
import { COLOURS, drawFrame, WIDTH } from './draw-frame.ts';
import { short } from './report.ts';

export interface PercentileChart {
  readonly title: string;
  readonly unit: string;
  readonly note: string;
  readonly lines: readonly {
    readonly label: string;
    readonly points: readonly { readonly percent: number; readonly value: number }[];
  }[];
}

const LEFT = 60;
const RIGHT = 230;
const TOP = 66;
const BOTTOM = 330;
/** Lines differ in their dashes as well as in colour. */
const DASHES = ['', '7 3', '2 3', '9 3 2 3', '4 2', '1 4', '12 4', '6 2 1 2 1 2'];

/** One line for each contestant. Both axes are logarithmic: each step to the right leaves out a tenth of the slow calls. */
export function drawPercentiles({ title, unit, note, lines }: PercentileChart): string {
  const scale = scaleOf(lines);
  const content = [
    `<text class="muted" x="16" y="48">${escapeXml(unit)}</text>`,
    ...drawAxes(scale),
    ...lines.flatMap((line, index) => drawLine(line, index, scale)),
  ];
  const words = lines.map(({ label, points }) =>
    [`${label}:`, ...points.map(({ percent, value }) => `${percent} % within ${short(value)}`)].join(' '),
  );
  const description = `Lines of percentiles, in ${unit}. ${words.join('; ')}.`;
  return drawFrame({ title, description, note, height: BOTTOM + 72, content });
}

type Line = PercentileChart['lines'][number];

interface Scale {
  readonly percents: readonly number[];
  /** Powers of ten. */
  readonly values: readonly number[];
  x(percent: number): string;
  y(value: number): string;
}

function scaleOf(lines: readonly Line[]): Scale {
  const all = lines.flatMap(({ points }) => points);
  const percents = [...new Set(all.map(({ percent }) => percent))].sort((a, b) => a - b);
  const positive = all.map(({ value }) => value).filter((value) => value > 0);
  const low = Math.floor(Math.log10(Math.min(1, ...positive)));
  const high = Math.max(low + 1, Math.ceil(Math.log10(Math.max(1, ...positive))));
  const [first, last] = [nines(percents[0] ?? 0), nines(percents.at(-1) ?? 90)];
  return {
    percents,
    values: Array.from({ length: high - low + 1 }, (_, i) => 10 ** (low + i)),
    x: (percent) => (LEFT + ((nines(percent) - first) / (last - first || 1)) * (WIDTH - LEFT - RIGHT)).toFixed(1),
    y(value) {
      const share = (Math.log10(Math.max(value, 10 ** low)) - low) / (high - low);
      return (BOTTOM - share * (BOTTOM - TOP)).toFixed(1);
    },
  };
}

function drawAxes({ percents, values, x, y }: Scale): string[] {
  return [
    ...values.flatMap((value) => [
      `<path class="rule" d="M${LEFT} ${y(value)}H${WIDTH - RIGHT}"/>`,
      `<text class="muted" x="${LEFT - 8}" y="${y(value)}" dy="4" font-size="11" text-anchor="end">${short(value)}</text>`,
    ]),
    ...percents.flatMap((percent) => [
      `<path class="rule" d="M${x(percent)} ${TOP}V${BOTTOM}"/>`,
      `<text class="muted" x="${x(percent)}" y="${BOTTOM + 16}" font-size="11" text-anchor="middle">${percent} %</text>`,
    ]),
    `<text class="muted" x="${LEFT}" y="${BOTTOM + 34}" font-size="11">of the calls took this time or less</text>`,
  ];
}

function drawLine({ label, points }: Line, index: number, { x, y }: Scale): string[] {
  const dash = DASHES[index % DASHES.length];
  const dashes = dash === '' ? '' : ` stroke-dasharray="${dash}"`;
  const stroke = `class="line${index % COLOURS}" fill="none" stroke-width="${index === 0 ? 3 : 2}"${dashes}`;
  const row = TOP + 10 + index * 22;
  return [
    `<polyline ${stroke} points="${points.map(({ percent, value }) => `${x(percent)},${y(value)}`).join(' ')}"/>`,
    `<path ${stroke} d="M${WIDTH - RIGHT + 16} ${row}h28"/>`,
    `<text class="text" x="${WIDTH - RIGHT + 52}" y="${row + 4}">${escapeXml(label)}</text>`,
  ];
}

/** How many nines a percentage has: 1 for 90, 2 for 99. */
function nines(percent: number): number {
  return -Math.log10(1 - percent / 100);
}
