import type { LogLine } from '../../harness/process-output.ts';
import type { Experience } from './callers.ts';

/** What was seen while something was away. */
export interface Finding {
  readonly what: string;
  readonly alerts: readonly { readonly name: string; readonly summary: string }[];
  readonly firesAfterMinutes: number;
  readonly endsAfterMinutes: number;
  readonly readyz: string;
  /** What the status page says. */
  readonly page: string;
  readonly experience: Experience;
  readonly log: string;
}

/** A finding as a person reads it, and as the story has it. */
export function tell(finding: Finding): string {
  const { what, alerts, firesAfterMinutes, endsAfterMinutes, readyz, page, experience, log } = finding;
  return [
    what,
    ...alerts.map(({ name, summary }) => `alert      ${name}: ${summary}`),
    `           fires after ${firesAfterMinutes} min, ends ${endsAfterMinutes} min after the fix`,
    `/readyz    ${readyz}`,
    `page       ${page}`,
    `regular    ${experience.regular}`,
    `newcomer   ${experience.newcomer}`,
    `log        ${log}`,
  ].join('\n');
}

/** The fields of a log line that say what happened, without those that differ from run to run. */
export function condense(line: LogLine, directory: string): string {
  const { level, msg, route, authorization_server, error, oauth_error, err } = line;
  const message = typeof err === 'object' && err !== null && 'message' in err ? err.message : undefined;
  const fields = { level, msg, route, authorization_server, error, oauth_error, err: message };
  return JSON.stringify(fields).replaceAll(`${directory}/`, '/etc/cambist/');
}

const FENCE = /^```text incident ([a-z-]+)\n([\s\S]*?)^```$/gm;

/** The blocks of the story in a Markdown text, by the names of their acts. */
export function readStory(markdown: string): Map<string, string> {
  return new Map([...markdown.matchAll(FENCE)].map(([, name = '', text = '']) => [name, text.trimEnd()]));
}

/** The text with what happened in place of what its blocks say. */
export function rewriteStory(markdown: string, told: ReadonlyMap<string, string>): string {
  return markdown.replace(FENCE, (block, name: string) => {
    const text = told.get(name);
    return text === undefined ? block : `\`\`\`text incident ${name}\n${text}\n\`\`\``;
  });
}

/** Ports, times and counts are never twice the same. */
export function withoutFigures(text: string): string {
  return text.replace(/\d+(\.\d+)?/g, (figure) => (isStatus(figure) ? figure : '#'));
}

function isStatus(figure: string): boolean {
  return /^[2-5]\d\d$/.test(figure);
}
