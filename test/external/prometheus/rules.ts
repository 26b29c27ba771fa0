import { fileURLToPath } from 'node:url';
import { type Manifest, readManifest } from '../../integration/deploy/manifests.ts';
import { findProgram } from '../find-program.ts';

/** `install-prometheus.sh` unpacks programs that are missing in the PATH. @throws Error if the program is missing */
export function prometheusProgram(name: 'prometheus' | 'promtool'): string {
  const unpacked = fileURLToPath(new URL('../../../node_modules/.prometheus/usr/bin', import.meta.url));
  const found = findProgram(name, unpacked);
  if (found === undefined)
    throw new Error(`${name} is missing: run "bash test/external/prometheus/install-prometheus.sh"`);
  return found;
}

interface AlertRule {
  readonly alert: string;
  readonly expr: string;
  readonly for: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
}

export interface RuleGroup {
  readonly name: string;
  readonly rules: readonly AlertRule[];
}

/** The rules of deploy/prometheusrule.yaml. Prometheus and promtool get no others. */
export function readRuleGroups(): readonly RuleGroup[] {
  return readManifest<Manifest & { spec: { groups: readonly RuleGroup[] } }>('prometheusrule.yaml').spec.groups;
}

/** Time runs faster for the rules by this factor: a minute takes three seconds. Every `for`, range and offset shrinks alike. */
export const QUICKENED = 20;

/**
 * The same rules with shorter times. cambist's own times stay the same. With a higher factor the shortest range, two minutes,
 * would miss the probes of an open breaker, which are three seconds apart.
 */
export function quicken(groups: readonly RuleGroup[], factor: number): readonly RuleGroup[] {
  return groups.map((group) => ({
    ...group,
    rules: group.rules.map((rule) => ({
      ...rule,
      for: quickenDuration(rule.for, factor),
      expr: rule.expr.replace(/(\[|\boffset )(\d+[smhd])\b/g, (_match, before: string, duration: string) => {
        return before + quickenDuration(duration, factor);
      }),
    })),
  }));
}

const UNIT_MS: Readonly<Record<string, number>> = { s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 };

function quickenDuration(duration: string, factor: number): string {
  const [, amount, unit = ''] = /^(\d+)([smhd])$/.exec(duration) ?? [];
  const unitMs = UNIT_MS[unit];
  if (amount === undefined || unitMs === undefined)
    throw new Error(`invalid duration "${duration}": write one number and one unit`);
  return `${Math.round((Number(amount) * unitMs) / factor)}ms`;
}
