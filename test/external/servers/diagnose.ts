import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { runCommand } from '../../harness/run-command.ts';

export interface DiagnosedFinding {
  about: { kind: string; name: string };
  severity: 'ok' | 'warning' | 'error';
  code: string;
  what: string;
  why?: string;
  fix?: string;
  claims?: Record<string, unknown>;
}

/** What `cambist doctor` found on one route and its servers. */
export interface Diagnosis {
  code: number | null;
  findings: DiagnosedFinding[];
  errors: DiagnosedFinding[];
  warnings: DiagnosedFinding[];
  /** Of the token that was issued, where one was. */
  claims: Record<string, unknown> | undefined;
  /** All that was printed, for a machine and for a person. */
  text: string;
}

/** @param options.token of a caller, which is written into a file of `directory` */
export async function diagnose(options: {
  config: string;
  route: string;
  token: string;
  directory: string;
}): Promise<Diagnosis> {
  const file = join(options.directory, 'doctor-subject-token');
  await writeFile(file, options.token);
  const args = ['doctor', '--config', options.config, '--route', options.route, '--subject-token-file', file];
  const machine = await runCommand([...args, '--json']);
  const person = await runCommand(args);
  const { findings } = JSON.parse(machine.stdout) as { findings: DiagnosedFinding[] };
  return {
    code: machine.code,
    findings,
    errors: findings.filter(({ severity }) => severity === 'error'),
    warnings: findings.filter(({ severity }) => severity === 'warning'),
    claims: findings.find(({ claims }) => claims !== undefined)?.claims,
    text: [machine, person].map(({ stdout, stderr }) => stdout + stderr).join('\n'),
  };
}
