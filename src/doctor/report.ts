import type { Component, Finding, Severity } from './finding.ts';
import type { Reporter } from './run-checks.ts';

/** A finding as a machine reads it. */
export interface ReportedFinding extends Finding {
  readonly about: { readonly kind: Component['kind']; readonly name: string };
}

const MARKS: Record<Severity, { sign: string; colour: number }> = {
  ok: { sign: '✓', colour: 32 },
  warning: { sign: '!', colour: 33 },
  error: { sign: '✗', colour: 31 },
};

/**
 * Writes steps for a person as they are taken.
 * @param colour whether the reader shows ANSI colours
 */
export function createTextReport(write: (line: string) => void, colour: boolean): Reporter {
  const paint = (text: string, code: number) => (colour ? `\x1b[${code}m${text}\x1b[0m` : text);
  let first = true;
  return {
    begins(_patient, title) {
      if (!first) write('');
      first = false;
      write(title);
    },
    found(_patient, { severity, code, what, why, fix, claims }) {
      const { sign, colour: of } = MARKS[severity];
      write(`  ${paint(sign, of)} ${what}${severity === 'ok' ? '' : ` [${code}]`}`);
      if (why !== undefined) write(`      why: ${why}`);
      if (fix !== undefined) write(`      fix: ${fix}`);
      for (const line of claims === undefined ? [] : describeClaims(claims)) write(`      ${line}`);
    },
  };
}

/** One claim a line. JSON has no control characters but these, which could steer a terminal. */
function describeClaims(claims: Readonly<Record<string, unknown>>): string[] {
  return Object.entries(claims).map(([name, value]) => {
    const line = `${JSON.stringify(name).slice(1, -1)}: ${JSON.stringify(value)}${when(name, value)}`;
    return line.replace(/[\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2066-\u2069]/g, '?');
  });
}

/** Times are seconds in a token, and no person reads those. */
function when(name: string, value: unknown): string {
  if (!['exp', 'iat', 'nbf', 'auth_time'].includes(name) || typeof value !== 'number') return '';
  const date = new Date(1000 * value);
  return Number.isNaN(date.getTime()) ? '' : ` (${date.toISOString()})`;
}

/** The last line: what a person has to do, or that there is nothing to do. */
export function summary(findings: readonly Finding[]): string {
  const errors = findings.filter(({ severity }) => severity === 'error').length;
  const warnings = findings.filter(({ severity }) => severity === 'warning').length;
  const look = warnings === 0 ? '' : `; ${warnings} to look at or not checked`;
  if (errors > 0) return `${errors} ${errors === 1 ? 'problem' : 'problems'}${look}`;
  return `no problem found${look}`;
}
