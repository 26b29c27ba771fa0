import type { LogLine } from '../../harness/cambist-process.ts';
import type { Experience } from './callers.ts';

export interface Observation {
  readonly failure: string;
  readonly alerts: readonly { readonly name: string; readonly summary: string }[];
  readonly firesAfterMinutes: number;
  readonly resolvesAfterMinutes: number;
  readonly readyz: string;
  readonly statusPage: string;
  readonly experience: Experience;
  readonly log: string;
}

/** The observation as the text of a block in deploy/incident.md. */
export function formatObservation(observation: Observation): string {
  const { failure, alerts, firesAfterMinutes, resolvesAfterMinutes, readyz, statusPage, experience, log } = observation;
  return [
    failure,
    ...alerts.map(({ name, summary }) => `alert         ${name}: ${summary}`),
    `              fires after ${firesAfterMinutes} min, resolves ${resolvesAfterMinutes} min after the fix`,
    `/readyz       ${readyz}`,
    `status page   ${statusPage}`,
    `cached token  ${experience.cached}`,
    `new caller    ${experience.new}`,
    `log           ${log}`,
  ].join('\n');
}

/** The fields of a log line that are the same in every run. */
export function condense(line: LogLine, directory: string): string {
  const { level, msg, route, authorization_server, error, oauth_error, err, cause, fix } = line;
  const message = typeof err === 'object' && err !== null && 'message' in err ? err.message : undefined;
  const fields = { level, msg, route, authorization_server, error, oauth_error, err: message, cause, fix };
  return JSON.stringify(fields).replaceAll(`${directory}/`, '/etc/cambist/');
}

const FENCE = /^```text incident ([a-z-]+)\n([\s\S]*?)^```$/gm;

export function readReports(markdown: string): Map<string, string> {
  return new Map([...markdown.matchAll(FENCE)].map(([, name = '', text = '']) => [name, text.trimEnd()]));
}

/** Replaces the blocks of a Markdown text by new reports. */
export function replaceReports(markdown: string, reports: ReadonlyMap<string, string>): string {
  return markdown.replace(FENCE, (block, name: string) => {
    const text = reports.get(name);
    return text === undefined ? block : `\`\`\`text incident ${name}\n${text}\n\`\`\``;
  });
}

/** Masks ports, times and counts, which differ between runs. */
export function withoutFigures(text: string): string {
  return text.replace(/\d+(\.\d+)?/g, (figure) => (isStatus(figure) ? figure : '#'));
}

function isStatus(figure: string): boolean {
  return /^[2-5]\d\d$/.test(figure);
}
