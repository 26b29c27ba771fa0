import { fileURLToPath } from 'node:url';
import { cachedInstall, runTool } from '../../harness/cached-install.ts';

const MANIFEST = fileURLToPath(new URL('vendor-sdks/package.json', import.meta.url));

/** Installs the SDKs of Auth0 and Entra. @returns the folder of their package.json */
export function installVendorSdks(): Promise<string> {
  return cachedInstall('vendor-sdks', [MANIFEST], (folder) =>
    runTool('npm', ['install', '--ignore-scripts', '--no-audit', '--no-fund', '--silent'], folder),
  );
}
