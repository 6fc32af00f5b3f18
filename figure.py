import hydra
from omegaconf import DictConfig

from ddpm_lightning.training.guard import guarded


@guarded
@hydra.main(config_path="conf", config_name="figure", version_base="1.3")
def main(cfg: DictConfig) -> None:
    from ddpm_lightning.figures.draw import draw

    draw(cfg)


if __name__ == "__main__":
    main()
