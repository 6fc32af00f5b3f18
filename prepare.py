from ddpm_lightning.cli.prepare import main

if __name__ == "__main__":
    main()
