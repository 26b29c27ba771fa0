import { escapeXml } from '../harness/svg.ts';

export const WIDTH = 760;

/** The colours of the contestants, in the light and in the dark. Each has 3:1 or more contrast with the ground. */
const LINES = [
  ['#0969da', '#58a6ff'],
  ['#bc4c00', '#f0883e'],
  ['#1a7f37', '#3fb950'],
  ['#8250df', '#bc8cff'],
  ['#cf222e', '#ff7b72'],
  ['#57606a', '#b1bac4'],
  ['#7d5600', '#d29922'],
  ['#1b7c83', '#39c5cf'],
] as const;

export const COLOURS = LINES.length;

/** For viewers without styles, the light colours stand for themselves. */
function styles(): string {
  const rules = (mode: 0 | 1): string => {
    const [ground, text, muted, rule, others] = (
      [
        ['#ffffff', '#1f2328', '#59636e', '#d1d9e0', '#818b98'],
        ['#0d1117', '#f0f6fc', '#9198a1', '#3d444d', '#767e89'],
      ] as const
    )[mode];
    return [
      `.ground{fill:${ground}}`,
      `.text{fill:${text}}`,
      `.muted{fill:${muted}}`,
      `.rule{stroke:${rule}}`,
      `.mark{stroke:${text}}`,
      `.others{fill:${others}}`,
      ...LINES.map((colours, i) => `.fill${i}{fill:${colours[mode]}}.line${i}{stroke:${colours[mode]}}`),
    ].join('');
  };
  return `<style>${rules(0)}@media (prefers-color-scheme:dark){${rules(1)}}</style>`;
}

export interface Frame {
  readonly title: string;
  /** All figures in words, for readers who do not see the chart. */
  readonly description: string;
  /** The conditions of the run, below the chart. */
  readonly note: string;
  readonly height: number;
  readonly content: readonly string[];
}

/** A chart with its title, its conditions, and its figures in words. */
export function drawFrame({ title, description, note, height, content }: Frame): string {
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" role="img" aria-labelledby="title description" font-family="system-ui, sans-serif" font-size="13">
<title id="title">${escapeXml(title)}</title>
<desc id="description">${escapeXml(description)}</desc>
${styles()}
<rect class="ground" width="${WIDTH}" height="${height}" rx="6"/>
<text class="text" x="16" y="28" font-size="16" font-weight="600">${escapeXml(title)}</text>
${content.join('\n')}
<text class="muted" x="16" y="${height - 14}" font-size="11">${escapeXml(note)}</text>
</svg>
`;
}
