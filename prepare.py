import hydra
from omegaconf import DictConfig

from ddpm_lightning.training.guard import guarded


@guarded
@hydra.main(config_path="conf", config_name="prepare", version_base="1.3")
def main(cfg: DictConfig) -> None:
    from ddpm_lightning.prepare.prepare import prepare

    prepare(cfg)


if __name__ == "__main__":
    main()
