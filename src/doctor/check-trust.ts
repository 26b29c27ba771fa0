import type { Config } from '../config/config.ts';
import { excludedRoutes } from '../intercept/hosts.ts';
import { type Found, fine, problem, warning } from './finding.ts';
import type { Reporter } from './run-checks.ts';
import { fileOf, findTrustFolder, type TrustFolder, whyNotTrusted } from './trust-folder.ts';

/** Kinds of clients, and the variable by which each finds the certificates that it trusts. */
const CLIENTS: readonly (readonly [name: string, variable: string])[] = [
  ['Node', 'NODE_EXTRA_CA_CERTS'],
  ['Python and Go', 'SSL_CERT_FILE'],
  ['Java', 'JAVA_TOOL_OPTIONS'],
  ['curl', 'CURL_CA_BUNDLE'],
  ['Rust with native roots', 'SSL_CERT_FILE'],
];

const RESTART = 'restart the pod, so that cambist writes the folder again';

/** Checks the trust folder of `intercept`: its authority, the hosts that it may sign for, and the files that clients read. */
export async function checkTrust(config: Config, reporter: Reporter): Promise<void> {
  const component = { kind: 'trust', name: '' } as const;
  reporter.section(component, 'trust folder');
  const found: Found = (finding) => reporter.finding(component, finding);
  const folder = await findTrustFolder(config, found);
  if (folder === undefined) return;
  checkHosts(config, folder, found);
  for (const [name, variable] of CLIENTS) {
    const why = await whyNotTrusted(variable, folder);
    const finding =
      why === undefined
        ? fine('trust_expected', `${name} finds the authority by ${variable}, in "${fileOf(variable, folder)}"`)
        : problem('trust_folder_broken', `${name} would not find the authority`, { why, fix: RESTART });
    reporter.finding({ kind: 'trust', name }, finding);
  }
}

/** @see RFC 5280 section 4.2.1.10 */
function checkHosts({ routes }: Config, { certificate }: TrustFolder, found: Found): void {
  const excluded = excludedRoutes(certificate, routes);
  if (excluded.length === 0) return;
  const names = excluded.map(({ name }) => `"${name}"`).join(', ');
  const what = `the name constraints of the authority exclude the hosts of routes ${names}, which are not intercepted`;
  found(warning('trust_hosts_excluded', what, { fix: 'use an authority that may sign for these hosts' }));
}
