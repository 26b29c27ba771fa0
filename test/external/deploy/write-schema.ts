import { readFileSync, writeFileSync } from 'node:fs';

/** Lays the schema of the config file into that of the chart's values, so that helm refuses what cambist would. */
const chart = 'deploy/helm/cambist/values.schema.json';
const values = JSON.parse(readFileSync(chart, 'utf8')) as { $defs: Record<string, unknown> };
values.$defs.config = JSON.parse(readFileSync('config/cambist.schema.json', 'utf8'));
writeFileSync(chart, `${JSON.stringify(values, undefined, 2)}\n`);
