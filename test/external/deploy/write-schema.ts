import { readFileSync, writeFileSync } from 'node:fs';

/** Copies the schema of the config file into the schema of the chart's values, so that helm refuses what cambist refuses. */
const chart = 'deploy/helm/cambist/values.schema.json';
const values = JSON.parse(readFileSync(chart, 'utf8')) as { $defs: Record<string, unknown> };
values.$defs.config = JSON.parse(readFileSync('config/cambist.schema.json', 'utf8'));
writeFileSync(chart, `${JSON.stringify(values, undefined, 2)}\n`);
