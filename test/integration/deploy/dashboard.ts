import { readDeployFile } from './manifests.ts';

export interface Target {
  readonly expr: string;
  readonly datasource: unknown;
}

export interface Panel {
  readonly id: number;
  readonly type: string;
  readonly title: string;
  readonly description?: string;
  readonly datasource?: unknown;
  readonly gridPos: { readonly x: number; readonly y: number; readonly w: number; readonly h: number };
  readonly targets?: readonly Target[];
  readonly fieldConfig?: { readonly defaults: { readonly unit?: string } };
}

export interface Variable {
  readonly name: string;
  readonly type: string;
  readonly definition?: string;
}

export interface Dashboard {
  readonly uid: string;
  readonly schemaVersion: number;
  readonly panels: readonly Panel[];
  readonly templating: { readonly list: readonly Variable[] };
  readonly annotations: { readonly list: readonly { readonly expr?: string }[] };
}

export const readDashboard = (): Dashboard => JSON.parse(readDeployFile('grafana/cambist.json')) as Dashboard;

/** Every query of the dashboard, with the name of its panel. */
export function queriesOf(dashboard: Dashboard): { from: string; expr: string }[] {
  const panels = dashboard.panels.flatMap(({ title, targets = [] }) =>
    targets.map(({ expr }) => ({ from: `panel "${title}"`, expr })),
  );
  const annotations = dashboard.annotations.list.flatMap(({ expr }) =>
    expr === undefined ? [] : [{ from: 'an annotation', expr }],
  );
  return [...panels, ...annotations];
}
