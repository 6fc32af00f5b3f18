from ddpm_lightning.cli.command import run_command

if __name__ == "__main__":
    run_command("compare")
