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

/** The result of `cambist doctor` for one route. */
export interface Diagnosis {
  code: number | null;
  findings: DiagnosedFinding[];
  errors: DiagnosedFinding[];
  warnings: DiagnosedFinding[];
  /** The claims of the issued token; undefined if no token was issued. */
  claims: Record<string, unknown> | undefined;
  /** The complete output, as JSON and as text. */
  text: string;
}

/** @param options.token a caller's token; it is written to a file in `directory` */
export async function diagnose(options: {
  config: string;
  route: string;
  token: string;
  directory: string;
}): Promise<Diagnosis> {
  const file = join(options.directory, 'doctor-subject-token');
  await writeFile(file, options.token);
  const args = ['doctor', '--config', options.config, '--route', options.route, '--subject-token-file', file];
  const asJson = await runCommand([...args, '--json']);
  const asText = await runCommand(args);
  const { findings } = JSON.parse(asJson.stdout) as { findings: DiagnosedFinding[] };
  return {
    code: asJson.code,
    findings,
    errors: findings.filter(({ severity }) => severity === 'error'),
    warnings: findings.filter(({ severity }) => severity === 'warning'),
    claims: findings.find(({ claims }) => claims !== undefined)?.claims,
    text: [asJson, asText].map(({ stdout, stderr }) => stdout + stderr).join('\n'),
  };
}
