/** The configuration of the node's programs. */

export const CONTAINERD = '/run/containerd/containerd.sock';
const POD_ADDRESSES = '10.244.0.0/16';

/** Routes each pod through the node, so that packets between pods of one node pass kube-proxy's rules too. */
export function podNetwork(): string {
  const ipam = {
    type: 'host-local',
    ranges: [[{ subnet: POD_ADDRESSES }]],
    routes: [{ dst: '0.0.0.0/0' }],
    dataDir: '/run/cni',
  };
  return JSON.stringify({
    cniVersion: '1.0.0',
    name: 'node',
    plugins: [
      { type: 'ptp', ipMasq: false, ipam },
      { type: 'portmap', capabilities: { portMappings: true } },
    ],
  });
}

/** @param pauseImage whose command waits */
export function containerdConfig(folder: string, pauseImage: string): string {
  return `version = 3
root = '${folder}/containerd'
state = '/run/containerd-state'
[metrics]
address = '127.0.0.1:1338'
[plugins.'io.containerd.cri.v1.images'.pinned_images]
sandbox = '${pauseImage}'
[plugins.'io.containerd.cri.v1.runtime']
# These two need capabilities that a container may lack.
restrict_oom_score_adj = true
disable_apparmor = true
[plugins.'io.containerd.cri.v1.runtime'.cni]
bin_dirs = ['/usr/lib/cni']
conf_dir = '${folder}/cni'
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
runtime_type = 'io.containerd.runc.v2'
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
SystemdCgroup = false
`;
}

export function kubeletConfig(address: string): string {
  return JSON.stringify({
    apiVersion: 'kubelet.config.k8s.io/v1beta1',
    kind: 'KubeletConfiguration',
    address,
    authentication: { anonymous: { enabled: true }, webhook: { enabled: false } },
    authorization: { mode: 'AlwaysAllow' },
    containerRuntimeEndpoint: `unix://${CONTAINERD}`,
    clusterDNS: [address],
    clusterDomain: 'cluster.local',
    failCgroupV1: false,
    cgroupDriver: 'cgroupfs',
    failSwapOn: false,
    enforceNodeAllocatable: [],
    makeIPTablesUtilChains: false,
    localStorageCapacityIsolation: false,
    // The disk of the machine that runs the tests may be full.
    evictionHard: { 'memory.available': '0%' },
    imageGCHighThresholdPercent: 100,
    // A changed ConfigMap arrives after up to a minute by default.
    syncFrequency: '3s',
    maxPods: 250,
    oomScoreAdj: 0,
    volumePluginDir: '/run/volume-plugins',
  });
}

export function kubeProxyConfig(kubeconfig: string): string {
  return JSON.stringify({
    apiVersion: 'kubeproxy.config.k8s.io/v1alpha1',
    kind: 'KubeProxyConfiguration',
    mode: 'nftables',
    clusterCIDR: POD_ADDRESSES,
    clientConnection: { kubeconfig },
    hostnameOverride: 'node',
    // The limits of connection tracking are those of the whole machine.
    conntrack: { maxPerCore: 0, min: 0, tcpEstablishedTimeout: '0s', tcpCloseWaitTimeout: '0s' },
    oomScoreAdj: 0,
  });
}
