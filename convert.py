from ddpm_lightning.cli.convert import main

if __name__ == "__main__":
    main()
