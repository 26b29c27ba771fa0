import { printable } from '../observability/printable.ts';
import type { Component, Finding, Severity } from './finding.ts';
import type { Reporter } from './run-checks.ts';

export interface ReportedFinding extends Finding {
  readonly about: Component;
}

const MARKS: Record<Severity, { sign: string; colour: number }> = {
  ok: { sign: '✓', colour: 32 },
  warning: { sign: '!', colour: 33 },
  error: { sign: '✗', colour: 31 },
};

/**
 * Writes each step as text.
 * @param colour whether the reader shows ANSI colours
 */
export function createTextReport(write: (line: string) => void, colour: boolean): Reporter {
  const paint = (text: string, code: number) => (colour ? `\x1b[${code}m${text}\x1b[0m` : text);
  let first = true;
  return {
    section(_component, title) {
      if (!first) write('');
      first = false;
      write(printable(title));
    },
    finding(_component, { severity, code, what, why, fix, claims }) {
      const { sign, colour: of } = MARKS[severity];
      write(`  ${paint(sign, of)} ${printable(what)}${severity === 'ok' ? '' : ` [${code}]`}`);
      if (why !== undefined) write(`      why: ${printable(why)}`);
      if (fix !== undefined) write(`      fix: ${printable(fix)}`);
      for (const line of claims === undefined ? [] : describeClaims(claims)) write(`      ${line}`);
    },
  };
}

/** One claim a line. JSON leaves some control characters unescaped, and they could manipulate a terminal. */
function describeClaims(claims: Readonly<Record<string, unknown>>): string[] {
  return Object.entries(claims).map(([name, value]) => {
    const line = `${JSON.stringify(name).slice(1, -1)}: ${JSON.stringify(value)}${timeOf(name, value)}`;
    return printable(line);
  });
}

/** Claims hold times in seconds, which people cannot read. */
function timeOf(name: string, value: unknown): string {
  if (!['exp', 'iat', 'nbf'].includes(name) || typeof value !== 'number') return '';
  const date = new Date(1000 * value);
  return Number.isNaN(date.getTime()) ? '' : ` (${date.toISOString()})`;
}

/** The last line: the number of problems and warnings. */
export function summary(findings: readonly Finding[]): string {
  const errors = findings.filter(({ severity }) => severity === 'error').length;
  const warnings = findings.filter(({ severity }) => severity === 'warning').length;
  const look = warnings === 0 ? '' : `; ${warnings} ${warnings === 1 ? 'warning' : 'warnings'}`;
  if (errors > 0) return `${errors} ${errors === 1 ? 'problem' : 'problems'}${look}`;
  return `no problem found${look}`;
}
