// A biLM on all GPUs of one machine of a Slurm cluster, or of several; train.sbatch starts it. AllenNLP passes the variables of the
// environment to a config. Slurm sets those with SLURM in their names, train.sbatch sets the other two.
local pretraining = import '../../training_config/bilm_original.jsonnet';
local number(name) = std.parseInt(std.extVar(name));

pretraining {
  distributed: {
    cuda_devices: std.range(0, number('SLURM_GPUS_ON_NODE') - 1),
    num_nodes: number('SLURM_NNODES'),
    primary_address: std.extVar('PRIMARY_ADDRESS'),
    primary_port: number('PRIMARY_PORT'),
  },
}
